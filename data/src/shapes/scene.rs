//! What a picture can show.

/// Declares an enum whose values have a number and a word.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value,)*
        }

        impl $name {
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$value),*];

            /// The word that captions use.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }
        }
    };
}

words! {
    /// The size of a shape.
    Size {
        /// In a circle of at most a quarter of the picture's width.
        Small = "small",
        /// In a circle of at least 0.4 of the picture's width.
        Large = "large",
    }
}

words! {
    /// The colour of a shape.
    Colour {
        /// Red.
        Red = "red",
        /// Orange.
        Orange = "orange",
        /// Yellow.
        Yellow = "yellow",
        /// Green.
        Green = "green",
        /// Cyan.
        Cyan = "cyan",
        /// Blue.
        Blue = "blue",
        /// Purple.
        Purple = "purple",
        /// Black.
        Black = "black",
    }
}

words! {
    /// The form of a shape.
    Shape {
        /// A disc.
        Circle = "circle",
        /// A square on its side.
        Square = "square",
        /// A triangle that points up.
        Triangle = "triangle",
        /// A star of five points.
        Star = "star",
        /// A plus sign.
        Cross = "cross",
        /// A heart.
        Heart = "heart",
        /// A ring; the ground shows in its middle.
        Ring = "ring",
        /// A square on its corner.
        Diamond = "diamond",
    }
}

words! {
    /// How the first object of a scene stands to the second.
    Relation {
        /// Left of it, at about the same height.
        LeftOf = "left of",
        /// Above it.
        Above = "above",
        /// Wholly within its outline.
        Inside = "inside",
    }
}

/// A colour-shape combination that the training split never shows: every colour has one, and every shape.
pub fn is_held_out(colour: Colour, shape: Shape) -> bool {
    (colour as usize * 3 + 2) % Shape::ALL.len() == shape as usize
}

/// A shape with its size and colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Object {
    /// Its size.
    pub size: Size,
    /// Its colour.
    pub colour: Colour,
    /// Its form.
    pub shape: Shape,
}

impl Object {
    /// Whether the training split never shows its colour with its shape.
    pub fn is_held_out(self) -> bool {
        is_held_out(self.colour, self.shape)
    }

    /// All objects: 2 sizes, 8 colours, 8 shapes.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let pairs = Size::ALL
            .iter()
            .flat_map(|s| Colour::ALL.iter().map(move |c| (*s, *c)));
        pairs.flat_map(|(size, colour)| {
            Shape::ALL.iter().map(move |&shape| Self {
                size,
                colour,
                shape,
            })
        })
    }

    fn number(self) -> u64 {
        (self.size as u64) << 6 | (self.colour as u64) << 3 | self.shape as u64
    }
}

/// What a picture shows: one object, or two and how they stand.
///
/// Two scenes that mean the same are equal: "A right of B" is kept as "B left of A".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scene {
    /// One object alone.
    Alone(Object),
    /// The first object stands in the relation to the second.
    Pair(Object, Relation, Object),
}

impl Scene {
    /// Its class: colour and form of its first object.
    pub fn label(&self) -> String {
        let (Self::Alone(first) | Self::Pair(first, ..)) = self;
        format!("{} {}", first.colour.word(), first.shape.word())
    }

    /// The objects of the scene.
    pub fn objects(&self) -> impl Iterator<Item = Object> + use<> {
        let (first, second) = match *self {
            Self::Alone(object) => (object, None),
            Self::Pair(first, _, second) => (first, Some(second)),
        };
        std::iter::once(first).chain(second)
    }

    /// Whether an object of the scene has a held-out combination of colour and shape.
    pub fn has_held_out(&self) -> bool {
        self.objects().any(Object::is_held_out)
    }

    /// Whether the scene can be drawn so that nobody mistakes it.
    pub(super) fn is_clear(&self) -> bool {
        match *self {
            Self::Alone(_) => true,
            Self::Pair(a, Relation::Inside, b) => {
                // Outlines with arms have no room inside.
                let roomy = !matches!(b.shape, Shape::Star | Shape::Cross);
                a.colour != b.colour && roomy && a.size == Size::Small && b.size == Size::Large
            }
            Self::Pair(a, _, b) => (a.colour, a.shape) != (b.colour, b.shape),
        }
    }

    /// A number that only this scene has.
    pub(super) fn number(&self) -> u64 {
        match *self {
            Self::Alone(object) => object.number(),
            Self::Pair(a, relation, b) => {
                (relation as u64 + 1) << 14 | a.number() << 7 | b.number()
            }
        }
    }
}
