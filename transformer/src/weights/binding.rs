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
    /// One element without axes, `[]`.
    Scalar,
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
    pub(super) ignored: Vec<&'static str>,
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
        for (i, name) in ["query", "key", "value"].into_iter().enumerate() {
            self.bind(format!("{path}.{name}.weight"), weight, Layout::Transposed);
            self.set_part(i, 3);
            if let Some(bias) = bias {
                self.bind(format!("{path}.{name}.bias"), bias, Layout::Same);
                self.set_part(i, 3);
            }
        }
    }

    fn set_part(&mut self, index: usize, of: usize) {
        if let Some(last) = self.list.last_mut() {
            last.part = (index, of);
        }
    }

    /// Tolerates keys that end in `suffix`: buffers that carry no weights.
    pub fn ignore(&mut self, suffix: &'static str) {
        self.ignored.push(suffix);
    }

    /// Appends the bindings of a part of the model that stands at `prefix` in the module.
    pub fn nest(&mut self, prefix: &str, part: Bindings) {
        self.list
            .extend(part.list.into_iter().map(|binding| Binding {
                path: format!("{prefix}.{}", binding.path),
                ..binding
            }));
        self.ignored.extend(part.ignored);
    }

    /// Puts `prefix` in front of every key on disk.
    pub fn prefix_keys(mut self, prefix: &str) -> Self {
        self.list
            .iter_mut()
            .for_each(|binding| binding.key = format!("{prefix}{}", binding.key));
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
        };
        if let Some(first) = disk.first_mut() {
            *first *= parts;
        }
        disk
    }

    pub(super) fn is_transposed(&self) -> bool {
        matches!(self, Layout::Transposed | Layout::Patches { .. })
    }
}
