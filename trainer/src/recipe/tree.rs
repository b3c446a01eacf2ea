//! Recipe text as a tree in which every value remembers where it was written, and how one tree overlays another.

use std::collections::BTreeMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::RecipeError;
use super::origin::Origin;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A TOML value. Dates are kept as text: no key holds one.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

/// Keys of a table that exclude each other: who sets one in an overlay means to replace the others.
const RIVALS: &[(&str, &[&str], &[&str])] = &[
    ("train", &["epochs"], &["steps"]),
    (
        "model",
        &["pretrained"],
        &[
            "preset",
            "embed_dim",
            "vision",
            "text",
            "pretrained_vision",
            "pretrained_text",
        ],
    ),
    ("model", &["pretrained_vision"], &["pretrained", "vision"]),
    ("model", &["pretrained_text"], &["pretrained", "text"]),
];

impl Node {
    /// Parses a whole document.
    ///
    /// # Errors
    /// `Syntax` with the line.
    pub(super) fn parse(text: &str, origin: &Origin) -> Result<Self, RecipeError> {
        let document = DeTable::parse(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            RecipeError::Syntax {
                place: origin.at(line_of(text, start)),
                message: error.message().replace('\n', ", "),
            }
        })?;
        let reader = Reader { text, origin };
        Ok(Self {
            value: reader.table(document.get_ref())?,
            origin: origin.clone(),
        })
    }

    /// Parses the value of a `--set`; what is not TOML is taken as text, so that paths and names need no quotes.
    pub(super) fn parse_value(text: &str, origin: &Origin) -> Self {
        let reader = Reader { text: "", origin };
        let parsed = DeValue::parse(text).ok();
        let node = parsed.and_then(|value| reader.value(value.get_ref(), origin.clone()).ok());
        node.unwrap_or_else(|| Self {
            value: Value::String(text.to_owned()),
            origin: origin.clone(),
        })
    }

    /// This node under a path of keys: `train.lr` gives a table within a table.
    pub(super) fn nested(self, keys: &[&str]) -> Self {
        keys.iter().rev().fold(self, |node, key| {
            let origin = node.origin.clone();
            Self {
                value: Value::Table(BTreeMap::from([((*key).to_owned(), node)])),
                origin,
            }
        })
    }

    /// The node at a path such as `train.lr` or `data.train.0.path`, or the deepest one on the way that exists.
    pub(super) fn deepest(&self, path: &str) -> &Self {
        let mut node = self;
        for key in path.split('.') {
            match node.get(key) {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// A table's entry, or an array's by its index.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(entries) => entries.get(key),
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The text at a key, if there is one.
    pub(super) fn text(&self, key: &str) -> Option<(&str, &Origin)> {
        match self.get(key) {
            Some(Node {
                value: Value::String(text),
                origin,
            }) => Some((text, origin)),
            _ => None,
        }
    }

    /// Gives a table that is there a text that it lacks.
    pub(super) fn default_text(&mut self, table: &str, key: &str, text: &str) {
        if let Some(Self {
            value: Value::Table(entries),
            origin,
        }) = self.at_mut(table)
        {
            entries.entry(key.to_owned()).or_insert_with(|| Self {
                value: Value::String(text.to_owned()),
                origin: origin.clone(),
            });
        }
    }

    /// Takes out what stands at a path such as `train.lr` or `data.train.0.path`; false if nothing does.
    pub(super) fn remove(&mut self, path: &str) -> bool {
        let (table, last) = match path.rsplit_once('.') {
            Some((above, last)) => (self.at_mut(above), last),
            None => (Some(self), path),
        };
        match table.map(|node| &mut node.value) {
            Some(Value::Table(entries)) => entries.remove(last).is_some(),
            Some(Value::Array(items)) => {
                let index = last.parse().ok().filter(|i| *i < items.len());
                index.map(|i: usize| items.remove(i)).is_some()
            }
            _ => false,
        }
    }

    fn at_mut(&mut self, path: &str) -> Option<&mut Self> {
        let mut node = self;
        for key in path.split('.') {
            node = match &mut node.value {
                Value::Table(entries) => entries.get_mut(key)?,
                Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(node)
    }

    /// This tree with `upper` laid over it: tables merge key by key, anything else is replaced. A table of another
    /// `kind` is replaced too, since its keys mean something else; and a key replaces its rivals.
    pub(super) fn overlaid(self, upper: Self) -> Self {
        overlay("", self, upper)
    }
}

fn overlay(name: &str, lower: Node, upper: Node) -> Node {
    if kinds_differ(&lower, &upper) {
        return upper;
    }
    match (lower.value, upper.value) {
        (Value::Table(mut low), Value::Table(high)) => {
            drop_rivals(name, &mut low, &high);
            for (key, node) in high {
                let merged = match low.remove(&key) {
                    Some(below) => overlay(&key, below, node),
                    None => node,
                };
                low.insert(key, merged);
            }
            Node {
                value: Value::Table(low),
                origin: upper.origin,
            }
        }
        (Value::Array(items), Value::Table(high)) if indexes(&high, items.len()) => {
            let mut high = high;
            let merged =
                items
                    .into_iter()
                    .enumerate()
                    .map(|(i, item)| match high.remove(&i.to_string()) {
                        Some(node) => overlay("", item, node),
                        None => item,
                    });
            Node {
                value: Value::Array(merged.collect()),
                origin: upper.origin,
            }
        }
        (_, value) => Node {
            value,
            origin: upper.origin,
        },
    }
}

fn kinds_differ(lower: &Node, upper: &Node) -> bool {
    match (lower.text("kind"), upper.text("kind")) {
        (Some((low, _)), Some((high, _))) => low != high,
        _ => false,
    }
}

fn drop_rivals(name: &str, low: &mut BTreeMap<String, Node>, high: &BTreeMap<String, Node>) {
    for (_, one, other) in RIVALS.iter().filter(|(table, ..)| *table == name) {
        for (mine, theirs) in [(one, other), (other, one)] {
            if mine.iter().any(|key| high.contains_key(*key)) {
                low.retain(|key, _| !theirs.contains(&key.as_str()));
            }
        }
    }
}

/// Whether a table's keys all are positions in an array of this length.
fn indexes(table: &BTreeMap<String, Node>, length: usize) -> bool {
    table
        .keys()
        .all(|key| key.parse::<usize>().is_ok_and(|i| i < length))
}

/// Turns the parser's tree into ours.
struct Reader<'a> {
    text: &'a str,
    origin: &'a Origin,
}

impl Reader<'_> {
    fn place(&self, offset: usize) -> Origin {
        self.origin.at(if self.text.is_empty() {
            0
        } else {
            line_of(self.text, offset)
        })
    }

    fn table(&self, table: &DeTable<'_>) -> Result<Value, RecipeError> {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let node = self.value(value.get_ref(), self.place(key.span().start))?;
            entries.insert(key.get_ref().to_string(), node);
        }
        Ok(Value::Table(entries))
    }

    fn array(&self, items: &[Spanned<DeValue<'_>>]) -> Result<Value, RecipeError> {
        let nodes = items
            .iter()
            .map(|item| self.value(item.get_ref(), self.place(item.span().start)));
        Ok(Value::Array(nodes.collect::<Result<_, _>>()?))
    }

    fn value(&self, value: &DeValue<'_>, origin: Origin) -> Result<Node, RecipeError> {
        let out_of_range = |number: &dyn fmt::Display| RecipeError::Syntax {
            place: origin.clone(),
            message: format!("the number {number} is out of range"),
        };
        let value = match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                Value::Integer(parsed.map_err(|_| out_of_range(number))?)
            }
            DeValue::Float(number) => {
                let parsed = number.as_str().parse();
                Value::Float(parsed.map_err(|_| out_of_range(&number.as_str()))?)
            }
            DeValue::Boolean(on) => Value::Boolean(*on),
            DeValue::Datetime(date) => Value::String(date.to_string()),
            DeValue::Array(items) => self.array(items)?,
            DeValue::Table(table) => self.table(table)?,
        };
        Ok(Node { value, origin })
    }
}

/// The line, counted from 1, of a byte of the text.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn tree(text: &str) -> Node {
        Node::parse(text, &Origin::new("recipe a.toml", Path::new(""))).unwrap()
    }

    fn integer(node: &Node, path: &str) -> Option<i64> {
        match node.deepest(path).value {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    #[test]
    fn a_value_knows_its_line() {
        let tree = tree("name = \"a\"\n\n[train]\nbatch = 8\n");
        assert_eq!(
            tree.deepest("train.batch").origin.to_string(),
            "recipe a.toml:4"
        );
    }

    #[test]
    fn tables_merge_and_arrays_are_replaced() {
        let merged = tree("[a]\nx = 1\ny = 2\nz = [1, 2]").overlaid(tree("[a]\ny = 3\nz = [4]"));
        assert_eq!(
            (integer(&merged, "a.x"), integer(&merged, "a.y")),
            (Some(1), Some(3))
        );
        assert_eq!(
            (integer(&merged, "a.z.0"), integer(&merged, "a.z.1")),
            (Some(4), None)
        );
    }

    #[test]
    fn a_table_of_another_kind_is_replaced() {
        let lower = "[a]\nkind = \"x\"\nn = 1";
        let other = tree(lower).overlaid(tree("[a]\nkind = \"y\""));
        assert_eq!(integer(&other, "a.n"), None);
        let same = tree(lower).overlaid(tree("[a]\nkind = \"x\""));
        assert_eq!(integer(&same, "a.n"), Some(1));
    }

    #[test]
    fn a_key_replaces_its_rival_of_the_lower_layer() {
        let merged = tree("[train]\nepochs = 3\nbatch = 4").overlaid(tree("[train]\nsteps = 9"));
        assert_eq!(integer(&merged, "train.steps"), Some(9));
        assert_eq!(integer(&merged, "train.epochs"), None);
        assert_eq!(integer(&merged, "train.batch"), Some(4));
    }

    #[test]
    fn an_array_takes_an_overlay_by_position() {
        let set = Node::parse_value("7", &Origin::new("--set", Path::new(""))).nested(&["a", "1"]);
        let merged = tree("a = [1, 2]").overlaid(set);
        assert_eq!(
            (integer(&merged, "a.0"), integer(&merged, "a.1")),
            (Some(1), Some(7))
        );
    }

    #[test]
    fn what_is_not_toml_on_the_command_line_is_text() {
        let origin = Origin::new("--set", Path::new(""));
        let value = |text| Node::parse_value(text, &origin).value;
        assert!(matches!(value("../a/b.csv"), Value::String(text) if text == "../a/b.csv"));
        assert!(matches!(value("3e-4"), Value::Float(number) if number == 3e-4));
        assert!(matches!(value("[1, 5]"), Value::Array(items) if items.len() == 2));
    }

    #[test]
    fn bad_syntax_names_the_line() {
        let error = Node::parse(
            "a = 1\nb = = 2\n",
            &Origin::new("recipe a.toml", Path::new("")),
        )
        .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("recipe a.toml:2: not valid TOML"),
            "{error}"
        );
    }
}
