//! What zkfast knows of one key of zoo.cfg: how Java reads it, its value where it is absent, its limits, what becomes of it.

use core::marker::PhantomData;
use core::ops::Deref;

/// How Java turns the text into a value, and what it does with text that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `Integer.parseInt`; anything else stops the start.
    Int,
    /// `Long.parseLong`; anything else stops the start.
    Long,
    /// `true` or `false` in any case; anything else stops the start.
    Bool,
    /// `Integer.getInteger`: decimal, hexadecimal or octal; anything else is silently the default.
    PropInt,
    /// `Long.getLong`, likewise.
    PropLong,
    /// `true` in any case; anything else is false.
    PropBool,
    /// `yes` exactly; anything else is no.
    OnlyYes,
    /// `no` exactly; anything else is yes.
    UnlessNo,
    /// `false` exactly; anything else is true.
    UnlessFalse,
    /// Any text.
    Text,
    /// Any text that reports must not show.
    Secret,
    /// A line of the ensemble: [`super::ensemble`] reads it, untrimmed.
    Server,
}

impl Kind {
    /// The words for true and false.
    pub(crate) const fn words(self) -> [&'static str; 2] {
        match self {
            Self::OnlyYes | Self::UnlessNo => ["yes", "no"],
            _ => ["true", "false"],
        }
    }

    /// The numbers that Java takes, without limits of the key.
    const fn numbers(self) -> Option<(i64, i64)> {
        match self {
            Self::Int | Self::PropInt => Some((i32::MIN as i64, i32::MAX as i64)),
            Self::Long | Self::PropLong => Some((i64::MIN, i64::MAX)),
            _ => None,
        }
    }

    const fn is_bool(self) -> bool {
        matches!(self, Self::Bool | Self::PropBool | Self::OnlyYes | Self::UnlessNo | Self::UnlessFalse)
    }
}

/// Where Java looks for the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `QuorumPeerConfig` knows it: in the file only.
    File,
    /// JVM property `zookeeper.KEY`, which the file sets as `KEY`.
    Property,
    /// The same, and JVM property `KEY` beside it.
    PropertyOrBare,
    /// JVM property `KEY`: Java ignores it in the file, zkfast does not.
    Jvm,
}

/// What becomes of the key in zkfast. The texts say why, for `zkfast check` and the page on configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It does what it does in ZooKeeper.
    Effective,
    /// It has no effect, and no user misses it: a note in `zkfast check`.
    Moot(&'static str),
    /// It has no effect, and a user may miss it: a warning, unless its value asks for what zkfast does anyway.
    Missing(&'static str),
    /// It has no effect: a warning when it is true, a note otherwise.
    MissingWhenTrue(&'static str),
    /// The server does not start with it.
    Refused(&'static str),
    /// The server does not start when it is true.
    RefusedWhenTrue(&'static str),
}

/// Which numbers a key takes, and what the server does with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// It takes every number of its kind.
    Any,
    /// A lesser number stops the start.
    AtLeast(i64),
    /// A lesser number stops the start of a member of an ensemble; the text says why.
    AtLeastInEnsemble(i64, &'static str),
    /// A lesser number reads as this one, with a warning.
    RaisedTo(i64),
    /// A number below 0 reads as 0, with a note.
    NotNegative,
    /// A number below 0 reads as the default, with a warning.
    DefaultIfNegative,
    /// A number that is no TCP port (0 to 65535) stops the start.
    Port,
    /// Every other number stops the start.
    Only(i64),
}

/// A value, as its row reads the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(i64),
    Bool(bool),
    Text(&'a str),
}

/// What the page on configuration shows as the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// The default itself.
    Value,
    /// What the value stands for.
    As(&'static str),
    /// So many ticks: the value -1 stands for them.
    Ticks(i32),
}

/// One row of the table: everything that zkfast knows of a key stands in it and nowhere else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// As zoo.cfg has it; `ssl.*` stands for all that begin so, `server.N` for all of that form.
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) kind: Kind,
    /// The value where the key is absent; `None` if there is none.
    pub(crate) default: Option<Value<'static>>,
    shown: Shown,
    /// Java's default where zkfast has another.
    java_default: Option<&'static str>,
    /// The setting of a server that starts without a file.
    pub(crate) without_file: Option<&'static str>,
    pub(crate) limit: Limit,
    /// The flag of the command line that sets it.
    pub(crate) flag: Option<&'static str>,
    /// The heading of the administrator's guide about it, where that differs from the name that the server reads.
    pub(crate) guide: Option<&'static str>,
    pub(crate) fate: Fate,
    /// What it sets, in a sentence.
    pub(crate) about: &'static str,
}

/// How a key is read, and its default: the beginning of a [`Row`].
#[derive(Clone, Copy)]
pub(crate) struct Values(Kind, Option<Value<'static>>);

pub(crate) const fn int(default: i32) -> Values {
    Values(Kind::Int, Some(Value::Number(default as i64)))
}

pub(crate) const fn long(default: i64) -> Values {
    Values(Kind::Long, Some(Value::Number(default)))
}

pub(crate) const fn boolean(default: bool) -> Values {
    Values(Kind::Bool, Some(Value::Bool(default)))
}

pub(crate) const fn prop_int(default: i32) -> Values {
    Values(Kind::PropInt, Some(Value::Number(default as i64)))
}

pub(crate) const fn prop_long(default: i64) -> Values {
    Values(Kind::PropLong, Some(Value::Number(default)))
}

pub(crate) const fn prop_bool(default: bool) -> Values {
    Values(Kind::PropBool, Some(Value::Bool(default)))
}

pub(crate) const fn only_yes() -> Values {
    Values(Kind::OnlyYes, Some(Value::Bool(false)))
}

pub(crate) const fn unless_no() -> Values {
    Values(Kind::UnlessNo, Some(Value::Bool(true)))
}

pub(crate) const fn unless_false() -> Values {
    Values(Kind::UnlessFalse, Some(Value::Bool(true)))
}

pub(crate) const fn text(default: &'static str) -> Values {
    Values(Kind::Text, Some(Value::Text(default)))
}

/// A key without a default.
pub(crate) const fn absent(kind: Kind) -> Values {
    Values(kind, None)
}

pub(crate) const fn file(name: &'static str, values: Values) -> Row {
    Row::new(name, Place::File, values)
}

pub(crate) const fn property(name: &'static str, values: Values) -> Row {
    Row::new(name, Place::Property, values)
}

pub(crate) const fn property_or_bare(name: &'static str, values: Values) -> Row {
    Row::new(name, Place::PropertyOrBare, values)
}

pub(crate) const fn jvm(name: &'static str, values: Values) -> Row {
    Row::new(name, Place::Jvm, values)
}

/// Columns of the table that most rows leave empty.
impl Row {
    const fn new(name: &'static str, place: Place, Values(kind, default): Values) -> Self {
        Self {
            name,
            place,
            kind,
            default,
            shown: Shown::Value,
            java_default: None,
            without_file: None,
            limit: Limit::Any,
            flag: None,
            guide: None,
            fate: Fate::Effective,
            about: "",
        }
    }

    pub(crate) const fn default_is(self, shown: &'static str) -> Self {
        Self { shown: Shown::As(shown), ..self }
    }

    pub(crate) const fn default_ticks(self, ticks: i32) -> Self {
        Self { shown: Shown::Ticks(ticks), ..self }
    }

    pub(crate) const fn java_default(self, shown: &'static str) -> Self {
        Self { java_default: Some(shown), ..self }
    }

    pub(crate) const fn without_file(self, text: &'static str) -> Self {
        Self { without_file: Some(text), ..self }
    }

    pub(crate) const fn at_least(self, least: i64) -> Self {
        Self { limit: Limit::AtLeast(least), ..self }
    }

    pub(crate) const fn at_least_in_ensemble(self, least: i64, why: &'static str) -> Self {
        Self { limit: Limit::AtLeastInEnsemble(least, why), ..self }
    }

    pub(crate) const fn raised_to(self, least: i64) -> Self {
        Self { limit: Limit::RaisedTo(least), ..self }
    }

    pub(crate) const fn not_negative(self) -> Self {
        Self { limit: Limit::NotNegative, ..self }
    }

    pub(crate) const fn default_if_negative(self) -> Self {
        Self { limit: Limit::DefaultIfNegative, ..self }
    }

    pub(crate) const fn port(self) -> Self {
        Self { limit: Limit::Port, ..self }
    }

    pub(crate) const fn only(self, number: i64) -> Self {
        Self { limit: Limit::Only(number), ..self }
    }

    pub(crate) const fn flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    pub(crate) const fn guide(self, heading: &'static str) -> Self {
        Self { guide: Some(heading), ..self }
    }

    pub(crate) const fn moot(self, why: &'static str) -> Self {
        Self { fate: Fate::Moot(why), ..self }
    }

    pub(crate) const fn missing(self, why: &'static str) -> Self {
        Self { fate: Fate::Missing(why), ..self }
    }

    pub(crate) const fn missing_when_true(self, why: &'static str) -> Self {
        Self { fate: Fate::MissingWhenTrue(why), ..self }
    }

    pub(crate) const fn refused(self, why: &'static str) -> Self {
        Self { fate: Fate::Refused(why), ..self }
    }

    pub(crate) const fn refused_when_true(self, why: &'static str) -> Self {
        Self { fate: Fate::RefusedWhenTrue(why), ..self }
    }

    pub(crate) const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }
}

impl Row {
    /// The numbers that the reader gives for this key.
    const fn numbers(&self) -> Option<(i64, i64)> {
        let Some((least, greatest)) = self.kind.numbers() else { return None };
        Some(match self.limit {
            Limit::Any | Limit::AtLeastInEnsemble(..) => (least, greatest),
            Limit::AtLeast(least) | Limit::RaisedTo(least) => (least, greatest),
            Limit::NotNegative | Limit::DefaultIfNegative => (0, greatest),
            Limit::Port => (0, u16::MAX as i64),
            Limit::Only(number) => (number, number),
        })
    }

    /// The ticks that a timeout has where it is absent.
    pub(crate) fn ticks(&self) -> i32 {
        match self.shown {
            Shown::Ticks(ticks) => ticks,
            other => panic!("{} is counted in no ticks: {other:?}", self.name),
        }
    }

    /// The default as the file would have it.
    pub(crate) fn default_text(&self) -> String {
        match (self.shown, self.default) {
            (Shown::As(text), _) => text.to_owned(),
            (Shown::Ticks(ticks), _) => format!("{ticks} ticks"),
            (Shown::Value, None) => "none".to_owned(),
            (Shown::Value, Some(Value::Text(text))) => text.to_owned(),
            (Shown::Value, Some(Value::Number(number))) => number.to_string(),
            (Shown::Value, Some(Value::Bool(value))) => {
                let [on, off] = self.kind.words();
                if value { on } else { off }.to_owned()
            }
        }
    }

    /// The default of a server with a file, or of one without.
    pub(crate) fn default_in_force(&self, has_file: bool) -> String {
        self.without_file.filter(|_| !has_file).map_or_else(|| self.default_text(), str::to_owned)
    }

    /// The row as a line of Markdown: key, default, verdict, meaning with limits.
    pub(crate) fn as_markdown(&self) -> String {
        let verdict = match self.fate {
            Fate::Effective => "effective".to_owned(),
            Fate::Moot(why) | Fate::Missing(why) => format!("no effect: {why}"),
            Fate::MissingWhenTrue(why) => format!("no effect, `true` warns: {why}"),
            Fate::Refused(why) => format!("refused: {why}"),
            Fate::RefusedWhenTrue(why) => format!("`true` is refused: {why}"),
        };
        let limit = match self.limit {
            Limit::Any => String::new(),
            Limit::AtLeast(least) => format!(" At least {least}."),
            Limit::AtLeastInEnsemble(least, _) => format!(" At least {least} in an ensemble."),
            Limit::RaisedTo(least) => format!(" Less than {least} reads as {least}."),
            Limit::NotNegative => " Less than 0 reads as 0.".to_owned(),
            Limit::DefaultIfNegative => " Less than 0 reads as the default.".to_owned(),
            Limit::Port => format!(" At most {}.", u16::MAX),
            Limit::Only(number) => format!(" {number} is the only one there is."),
        };
        let jvm = if self.place == Place::Jvm { " (Java: `-D` only)" } else { "" };
        let java = self.java_default.map_or(String::new(), |text| format!(" (Java: {text})"));
        let built_in = self.without_file.map_or(String::new(), |text| format!(" ({text} without a file)"));
        let (name, default, about) = (self.name, self.default_text(), self.about);
        format!("| `{name}`{jvm} | {default}{java}{built_in} | {verdict} | {about}{limit} |\n")
    }
}

/// A key whose value the reader takes as a `T`. Whether all of its values fit is checked when zkfast is compiled.
pub(crate) struct Key<T> {
    row: Row,
    taken_as: PhantomData<fn() -> T>,
}

impl<T: Taken> Key<T> {
    pub(crate) const fn of(row: Row) -> Self {
        match (T::SHAPE, row.numbers()) {
            (Shape::Numbers(least, greatest), Some((low, high))) => {
                assert!(least <= low && high <= greatest, "numbers of the key that its type does not hold");
            }
            (Shape::Bool, None) => assert!(row.kind.is_bool(), "a key that is neither true nor false"),
            (Shape::Text, None) => assert!(!row.kind.is_bool(), "a key that is true or false"),
            _ => panic!("a number that is taken as something else, or the reverse"),
        }
        if let (Some(Value::Number(default)), Some((low, high))) = (row.default, row.numbers()) {
            assert!(low <= default && default <= high, "a default outside of the key's limits");
        }
        assert!(T::IS_OPTIONAL || row.default.is_some(), "a key without a default");
        Self { row, taken_as: PhantomData }
    }
}

impl<T> Deref for Key<T> {
    type Target = Row;

    fn deref(&self) -> &Row {
        &self.row
    }
}

/// Which values a type holds.
pub(crate) enum Shape {
    /// The least and the greatest.
    Numbers(i64, i64),
    Bool,
    Text,
}

/// A type that the reader takes values as.
pub(crate) trait Taken: Sized {
    const SHAPE: Shape;
    /// True if a key of this type may have no value.
    const IS_OPTIONAL: bool = false;

    /// Panics where the value does not fit the type, which [`Key::of`] makes impossible.
    fn take(value: Option<Value<'_>>) -> Self;
}

macro_rules! taken_numbers {
    ($($type:ty: $greatest:expr;)*) => {$(
        impl Taken for $type {
            const SHAPE: Shape = Shape::Numbers(<$type>::MIN as i64, $greatest);

            fn take(value: Option<Value<'_>>) -> Self {
                let Some(Value::Number(number)) = value else { panic!("{value:?} is no number") };
                number.try_into().unwrap_or_else(|_| panic!("{number} is no {}", stringify!($type)))
            }
        }
    )*};
}

taken_numbers! {
    i32: i32::MAX as i64;
    u16: u16::MAX as i64;
    u32: u32::MAX as i64;
    u64: i64::MAX;
}

impl Taken for bool {
    const SHAPE: Shape = Shape::Bool;

    fn take(value: Option<Value<'_>>) -> Self {
        let Some(Value::Bool(value)) = value else { panic!("{value:?} is neither true nor false") };
        value
    }
}

impl Taken for String {
    const SHAPE: Shape = Shape::Text;

    fn take(value: Option<Value<'_>>) -> Self {
        let Some(Value::Text(text)) = value else { panic!("{value:?} is no text") };
        text.to_owned()
    }
}

impl<T: Taken> Taken for Option<T> {
    const SHAPE: Shape = T::SHAPE;
    const IS_OPTIONAL: bool = true;

    fn take(value: Option<Value<'_>>) -> Self {
        value.is_some().then(|| T::take(value))
    }
}
