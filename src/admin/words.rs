//! The four-letter words themselves, and which of them run.

/// A word that a client may send instead of a handshake. Source: `FourLetterCommands`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the words are ZooKeeper's; the page on them lists what each answers
pub enum FourLetterWord {
    Conf,
    Cons,
    Crst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Hash,
    Isro,
    Mntr,
    Ruok,
    Srst,
    Srvr,
    Stat,
    /// Followed by [`Self::MASK_BYTES`] bytes, the new mask.
    Stmk,
    Wchc,
    Wchp,
    Wchs,
    /// What telnet sends when it closes; it has no answer.
    TelnetClose,
}

impl FourLetterWord {
    /// Every word.
    pub const ALL: [Self; 19] = [
        Self::Conf,
        Self::Cons,
        Self::Crst,
        Self::Dirs,
        Self::Dump,
        Self::Envi,
        Self::Gtmk,
        Self::Hash,
        Self::Isro,
        Self::Mntr,
        Self::Ruok,
        Self::Srst,
        Self::Srvr,
        Self::Stat,
        Self::Stmk,
        Self::Wchc,
        Self::Wchp,
        Self::Wchs,
        Self::TelnetClose,
    ];

    /// Bytes of the mask after `stmk`, big-endian.
    pub const MASK_BYTES: usize = 8;

    /// As it is typed, and as the whitelist names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conf => "conf",
            Self::Cons => "cons",
            Self::Crst => "crst",
            Self::Dirs => "dirs",
            Self::Dump => "dump",
            Self::Envi => "envi",
            Self::Gtmk => "gtmk",
            Self::Hash => "hash",
            Self::Isro => "isro",
            Self::Mntr => "mntr",
            Self::Ruok => "ruok",
            Self::Srst => "srst",
            Self::Srvr => "srvr",
            Self::Stat => "stat",
            Self::Stmk => "stmk",
            Self::Wchc => "wchc",
            Self::Wchp => "wchp",
            Self::Wchs => "wchs",
            Self::TelnetClose => "telnet close",
        }
    }

    /// The first four bytes of the connection, where a frame would have its length.
    pub fn code(self) -> i32 {
        match (self, self.name().as_bytes()) {
            (Self::TelnetClose, _) => 0xFFF4_FFFD_u32 as i32,
            (_, &[a, b, c, d]) => i32::from_be_bytes([a, b, c, d]),
            (_, name) => unreachable!("{name:?} has four letters"),
        }
    }

    /// The word with this code. All of them are longer than any frame may be, or negative.
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.code() == code)
    }

    /// The answer to a word that the whitelist leaves out.
    pub fn refusal(self) -> Vec<u8> {
        format!("{} is not executed because it is not in the whitelist.\n", self.name()).into_bytes()
    }
}

/// The words that run. Source: `4lw.commands.whitelist`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whitelist {
    /// A bit for each word, in the order of [`FourLetterWord::ALL`].
    bits: u32,
}

impl Whitelist {
    /// Reads a list separated by commas, where `*` is all and names that are no word are skipped.
    /// `srvr` always runs since zkServer.sh needs it, and `isro` where clients look for servers in
    /// read-only mode with it.
    pub fn parse(list: &str, read_only_mode: bool) -> Self {
        let mut whitelist = Self { bits: 0 };
        for name in list.split(',').map(str::trim) {
            whitelist.bits |= FourLetterWord::ALL.iter().fold(0, |bits, &word| {
                if name == "*" || name == word.name() { bits | 1 << word as u32 } else { bits }
            });
        }
        whitelist.bits |= 1 << FourLetterWord::Srvr as u32;
        if read_only_mode {
            whitelist.bits |= 1 << FourLetterWord::Isro as u32;
        }
        whitelist
    }

    /// Whether `word` runs.
    pub const fn allows(self, word: FourLetterWord) -> bool {
        self.bits >> word as u32 & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words are known by their bytes, and no frame length is taken for one.
    #[test]
    fn codes() {
        for (at, word) in FourLetterWord::ALL.into_iter().enumerate() {
            assert_eq!(word as usize, at);
            assert_eq!(FourLetterWord::from_code(word.code()), Some(word));
            assert!(word.code() < 0 || word.code() > 0x6000_0000);
        }
        assert_eq!(FourLetterWord::from_code(i32::from_be_bytes(*b"ruok")), Some(FourLetterWord::Ruok));
        assert_eq!(FourLetterWord::from_code(i32::from_be_bytes(*b"GET ")), None);
        assert_eq!(FourLetterWord::from_code(-720_899), Some(FourLetterWord::TelnetClose));
        assert_eq!(FourLetterWord::from_code(1024), None);
    }

    /// Lists are read as Java reads them.
    #[test]
    fn whitelists() {
        let allowed = |list, read_only| {
            let whitelist = Whitelist::parse(list, read_only);
            FourLetterWord::ALL
                .into_iter()
                .filter(|&word| whitelist.allows(word))
                .map(FourLetterWord::name)
                .collect::<Vec<_>>()
        };
        assert_eq!(allowed("", false), ["srvr"]);
        assert_eq!(allowed("", true), ["isro", "srvr"]);
        assert_eq!(allowed(" ruok ,mntr,nope,,RUOK", false), ["mntr", "ruok", "srvr"]);
        assert_eq!(allowed("stat, *", false).len(), FourLetterWord::ALL.len());
    }

    /// The refusal is the sentence that tools look for.
    #[test]
    fn refusal() {
        assert_eq!(
            FourLetterWord::Stat.refusal(),
            b"stat is not executed because it is not in the whitelist.\n"
        );
    }
}
