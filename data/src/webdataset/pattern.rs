//! Which shards a pattern names.

use std::path::{Path, PathBuf};

use glob::MatchOptions;

use crate::Error;

/// More shards than any set has: `{0..999999999}` must not fill the memory.
const MAX_SHARDS: usize = 1_000_000;

/// Stars match as in a shell: not a leading dot, and not a slash.
const STARS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// What patterns come to.
pub(crate) struct Shards {
    /// The patterns, for messages.
    pub(crate) name: String,
    /// The shards in the order of the patterns. Whether those named in full exist, nobody has looked.
    pub(crate) paths: Vec<PathBuf>,
    /// Patterns with stars that match nothing.
    pub(crate) unmatched: Vec<String>,
}

/// Finds the shards of some patterns.
pub(crate) fn expand(patterns: &[impl AsRef<Path>]) -> Result<Shards, Error> {
    let shown = |path: &Path| path.display().to_string();
    let names: Vec<_> = patterns.iter().map(|p| shown(p.as_ref())).collect();
    let mut shards = Shards {
        name: names.join(", "),
        paths: Vec::new(),
        unmatched: Vec::new(),
    };
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let added = shards.add(pattern);
        added.map_err(|message| Error::Pattern {
            pattern: shown(pattern),
            message,
        })?;
    }
    if shards.paths.is_empty() {
        return Err(Error::NoShards {
            pattern: shards.name,
        });
    }
    Ok(shards)
}

impl Shards {
    fn add(&mut self, pattern: &Path) -> Result<(), String> {
        // What exists is meant as it is written, whatever brackets its name has.
        let existing = pattern.ancestors().find(|path| path.exists());
        let base = existing.unwrap_or(Path::new(""));
        let rest = pattern.strip_prefix(base).unwrap_or(pattern);
        if rest.as_os_str().is_empty() {
            return if pattern.is_dir() {
                self.add_matches(pattern, "*.tar")
            } else {
                self.paths.push(pattern.into());
                Ok(())
            };
        }
        let rest = rest.to_str().ok_or("the pattern is not UTF-8")?;
        for rest in braces(rest)? {
            if rest.contains(['*', '?', '[']) {
                self.add_matches(base, &rest)?;
            } else {
                self.paths.push(base.join(rest));
            }
        }
        Ok(())
    }

    fn add_matches(&mut self, base: &Path, rest: &str) -> Result<(), String> {
        let folder = base.to_str().ok_or("the folder is not UTF-8")?;
        let pattern = Path::new(&glob::Pattern::escape(folder)).join(rest);
        let pattern = pattern.to_string_lossy();
        let matches = glob::glob_with(&pattern, STARS).map_err(|error| error.to_string())?;
        let mut matches: Vec<_> = matches
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        if matches.is_empty() {
            self.unmatched.push(base.join(rest).display().to_string());
        }
        matches.sort_unstable();
        self.paths.append(&mut matches);
        Ok(())
    }
}

/// The texts that a pattern with braces stands for, in order: `a{0..2}` and `a{x,y}`, also nested, as in a shell.
fn braces(pattern: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        if pattern.contains('}') {
            return Err("a brace closes that none opens".into());
        }
        return Ok(vec![pattern.to_owned()]);
    };
    if before.contains('}') {
        return Err("a brace closes that none opens".into());
    }
    let (items, after) = items(rest).ok_or("a brace opens that none closes")?;
    let middles = match range(&items)? {
        Some(numbers) => numbers,
        None => {
            let expanded: Result<Vec<_>, _> = items.into_iter().map(braces).collect();
            expanded?.concat()
        }
    };
    let ends = braces(after)?;
    if middles.len().saturating_mul(ends.len()) > MAX_SHARDS {
        return Err(too_many());
    }
    let with_ends = |middle: String| ends.iter().map(move |end| format!("{before}{middle}{end}"));
    Ok(middles.into_iter().flat_map(with_ends).collect())
}

/// The items between an opening brace and the brace that closes it, and what follows.
fn items(text: &str) -> Option<(Vec<&str>, &str)> {
    let mut items = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                items.push(&text[start..i]);
                start = i + 1;
            }
            '}' if depth == 0 => {
                items.push(&text[start..i]);
                return Some((items, &text[i + 1..]));
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The numbers of `0000..0041`, all as wide as the wider end if one begins with a zero.
fn range(items: &[&str]) -> Result<Option<Vec<String>>, String> {
    let [item] = items else { return Ok(None) };
    let Some((first, last)) = item.split_once("..") else {
        return Ok(None);
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Err(format!("`{{{item}}}` is no range such as `{{0000..0041}}`"));
    }
    let number = |text: &str| text.parse::<usize>().map_err(|_| too_many());
    let (from, to) = (number(first)?, number(last)?);
    if from.abs_diff(to) >= MAX_SHARDS {
        return Err(too_many());
    }
    let padded = [first, last]
        .iter()
        .any(|end| end.len() > 1 && end.starts_with('0'));
    let width = if padded {
        first.len().max(last.len())
    } else {
        0
    };
    let shown = |number: usize| format!("{number:0width$}");
    Ok(Some(if from <= to {
        (from..=to).map(shown).collect()
    } else {
        (to..=from).rev().map(shown).collect()
    }))
}

fn too_many() -> String {
    format!("it stands for more than {MAX_SHARDS} shards")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn braces_stand_for_ranges_and_lists() {
        let same = |pattern: &str, texts: &[&str]| assert_eq!(braces(pattern).unwrap(), texts);
        same("a.tar", &["a.tar"]);
        same(
            "a{0008..0010}.tar",
            &["a0008.tar", "a0009.tar", "a0010.tar"],
        );
        same("{9..11}", &["9", "10", "11"]);
        same("{2..0}", &["2", "1", "0"]);
        same("{x,y}/{0..1}", &["x/0", "x/1", "y/0", "y/1"]);
        same("a{x,{1..2},}b", &["axb", "a1b", "a2b", "ab"]);
        same("{one}", &["one"]);
    }

    #[test]
    fn braces_that_mean_nothing_are_refused() {
        for (pattern, message) in [
            ("a{0..1", "opens that none closes"),
            ("a0}.tar", "closes that none opens"),
            ("a}{0}", "closes that none opens"),
            ("{a..c}", "no range"),
            ("{0..9}{0..999999}", "more than 1000000 shards"),
            ("{0..99999999999999999999}", "more than 1000000 shards"),
        ] {
            let error = braces(pattern).unwrap_err();
            assert!(error.contains(message), "{pattern}: {error}");
        }
    }

    #[test]
    fn stars_match_in_order_and_names_that_exist_are_literal() {
        let folder = tempfile::TempDir::new().unwrap();
        let odd = folder.path().join("{odd} [x]*");
        fs::create_dir(&odd).unwrap();
        for name in ["b-1.tar", "b-0.tar", "a.tar", ".b-2.tar", "b-{0..1}.tar.x"] {
            fs::write(odd.join(name), "").unwrap();
        }
        let found = |pattern: &str| -> Vec<String> {
            let shards = expand(&[odd.join(pattern)]).unwrap();
            let names = shards
                .paths
                .iter()
                .map(|p| p.file_name().unwrap().to_str().unwrap());
            names.map(str::to_owned).collect()
        };
        assert_eq!(found("b-*.tar"), ["b-0.tar", "b-1.tar"]);
        assert_eq!(found("{b-?,a}.tar"), ["b-0.tar", "b-1.tar", "a.tar"]);
        assert_eq!(found("b-{0..1}.tar.x"), ["b-{0..1}.tar.x"]);
        assert_eq!(found("b-{1..2}.tar"), ["b-1.tar", "b-2.tar"]);
        let error = expand(&[odd.join("c-*.tar")]).err().unwrap().to_string();
        assert!(error.contains("c-*.tar` matches no file"), "{error}");
    }
}
