//! Where each parameter is found on disk, and how it lies there.

/// How a parameter lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As in the module.
    Same,
    /// With leading axes of size one, as many as given.
    Unsqueezed(usize),
    /// A linear map as torch writes it, `[d_output, d_input]`.
    Transposed,
    /// A patch embedding as a convolution, `[d_model, channels, size, size]`.
    Patches {
        /// Channels of the picture.
        channels: usize,
        /// Side of a patch in pixels.
        size: usize,
    },
    /// One element without axes, `[]`; with an axis, `[1]`, it is read too.
    Scalar,
    /// One element with an axis, `[1]`; without axes, `[]`, it is read too.
    One,
}

/// Where one parameter is found on disk.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The path in the module: field names joined by dots.
    pub path: String,
    /// The key on disk.
    pub key: String,
    /// How it lies there.
    pub layout: Layout,
    /// The parameter is part `.0` of `.1` equal parts stacked along the first axis of the tensor
    /// on disk (fused query, key and value).
    pub part: (usize, usize),
}

/// The bindings of a model, built up front to back.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    list: Vec<Binding>,
    ignored: Vec<&'static str>,
    ignores_others: bool,
    zeros: Vec<String>,
}

impl Bindings {
    /// Binds the parameter at `path` to `key`.
    pub fn bind(&mut self, path: impl Into<String>, key: impl Into<String>, layout: Layout) {
        let (path, key) = (path.into(), key.into());
        self.list.push(Binding {
            path,
            key,
            layout,
            part: (0, 1),
        });
    }

    /// Binds a linear layer: `path.weight` and, with `bias`, `path.bias`.
    pub fn linear(&mut self, path: &str, key: &str, bias: bool) {
        self.bind(
            format!("{path}.weight"),
            format!("{key}.weight"),
            Layout::Transposed,
        );
        if bias {
            self.bind(format!("{path}.bias"), format!("{key}.bias"), Layout::Same);
        }
    }

    /// Binds a layer norm.
    pub fn norm(&mut self, path: &str, key: &str) {
        self.bind(
            format!("{path}.gamma"),
            format!("{key}.weight"),
            Layout::Same,
        );
        self.bind(format!("{path}.beta"), format!("{key}.bias"), Layout::Same);
    }

    /// Binds three linear layers stacked into one tensor: `weight` and, if given, `bias`.
    pub fn fused_qkv(&mut self, path: &str, weight: &str, bias: Option<&str>) {
        self.fused(&["query", "key", "value"], path, weight, bias);
    }

    /// Binds the maps of keys and values stacked into one tensor: `weight` and `bias`.
    pub fn fused_kv(&mut self, path: &str, weight: &str, bias: &str) {
        self.fused(&["key", "value"], path, weight, Some(bias));
    }

    fn fused(&mut self, names: &[&str], path: &str, weight: &str, bias: Option<&str>) {
        for (i, name) in names.iter().enumerate() {
            self.bind(format!("{path}.{name}.weight"), weight, Layout::Transposed);
            self.set_part(i, names.len());
            if let Some(bias) = bias {
                self.bind(format!("{path}.{name}.bias"), bias, Layout::Same);
                self.set_part(i, names.len());
            }
        }
    }

    fn set_part(&mut self, index: usize, of: usize) {
        if let Some(last) = self.list.last_mut() {
            last.part = (index, of);
        }
    }

    /// Tolerates the key `name` and keys that end in a dot and `name`: buffers that carry no weights.
    pub fn ignore(&mut self, name: &'static str) {
        self.ignored.push(name);
    }

    /// Tolerates every key that is not bound: of a file that holds more, this part alone is read.
    pub fn ignoring_others(mut self) -> Self {
        self.ignores_others = true;
        self
    }

    /// Lets a file leave out the tensor `key`, which is then zero.
    pub fn zero_if_missing(&mut self, key: &str) {
        self.zeros.push(key.into());
    }

    pub(super) fn is_ignored(&self, key: &str) -> bool {
        if self.ignores_others {
            return true;
        }
        let stem = |name: &&str| key.strip_suffix(*name);
        let mut stems = self.ignored.iter().filter_map(stem);
        stems.any(|stem| stem.is_empty() || stem.ends_with('.'))
    }

    pub(super) fn is_zero_if_missing(&self, key: &str) -> bool {
        self.zeros.iter().any(|zero| zero == key)
    }

    /// Appends the bindings of a part of the model that stands at `prefix` in the module.
    pub fn nest(&mut self, prefix: &str, part: Bindings) {
        self.list
            .extend(part.list.into_iter().map(|binding| Binding {
                path: format!("{prefix}.{}", binding.path),
                ..binding
            }));
        self.ignored.extend(part.ignored);
        self.zeros.extend(part.zeros);
    }

    /// Puts `prefix` in front of every key on disk.
    pub fn prefix_keys(mut self, prefix: &str) -> Self {
        self.list
            .iter_mut()
            .for_each(|binding| binding.key = format!("{prefix}{}", binding.key));
        self.zeros
            .iter_mut()
            .for_each(|key| *key = format!("{prefix}{key}"));
        self
    }

    /// The bindings, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.list.iter()
    }
}

impl Layout {
    /// The shape on disk of a parameter of shape `shape`, which is one of `parts`.
    pub(super) fn on_disk(&self, shape: &[usize], parts: usize) -> Vec<usize> {
        let mut disk = match self {
            Layout::Same => shape.to_vec(),
            Layout::Unsqueezed(axes) => [vec![1; *axes], shape.to_vec()].concat(),
            Layout::Transposed => shape.iter().rev().copied().collect(),
            Layout::Patches { channels, size } => vec![shape[1], *channels, *size, *size],
            Layout::Scalar => Vec::new(),
            Layout::One => vec![1],
        };
        if let Some(first) = disk.first_mut() {
            *first *= parts;
        }
        disk
    }

    /// Whether a tensor of shape `found` on disk is what [`on_disk`](Self::on_disk) says.
    pub(super) fn fits(&self, found: &[usize], expected: &[usize]) -> bool {
        match self {
            Layout::Scalar | Layout::One => found.is_empty() || found == [1],
            _ => found == expected,
        }
    }

    pub(super) fn is_transposed(&self) -> bool {
        matches!(self, Layout::Transposed | Layout::Patches { .. })
    }
}
