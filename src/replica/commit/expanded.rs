//! The access list that was made last, kept for the next request with the same.

use crate::proto::Id;
use crate::proto::acl::RawAcl;
use crate::tree::AclRef;

/// One entry of a list as a client sent it: permissions, scheme, id.
type SentAcl = (i32, Option<Box<[u8]>>, Option<Box<[u8]>>);

/// An access list as a client sent it, the client's ids, and what is stored: one client's requests tend to have the same, and
/// a list of thousands takes a millisecond to make.
#[derive(Debug)]
pub(super) struct Expanded {
    raw: Vec<SentAcl>,
    ids: Vec<Id>,
    /// What is stored.
    pub stored: AclRef,
}

impl Expanded {
    /// Keeps what is stored for the list `raw` of a client with these ids.
    pub fn new(raw: &[RawAcl<'_>], ids: &[Id], stored: AclRef) -> Self {
        let owned = |bytes: Option<&[u8]>| bytes.map(Box::from);
        let raw = raw.iter().map(|acl| (acl.perms, owned(acl.scheme), owned(acl.id))).collect();
        Self { raw, ids: ids.to_vec(), stored }
    }

    /// True if it was made of this list, for a client with these ids.
    pub fn is_of(&self, raw: &[RawAcl<'_>], ids: &[Id]) -> bool {
        let same = |(known, raw): (&SentAcl, &RawAcl<'_>)| {
            known.0 == raw.perms && known.1.as_deref() == raw.scheme && known.2.as_deref() == raw.id
        };
        self.raw.len() == raw.len() && self.raw.iter().zip(raw).all(same) && self.ids == ids
    }
}
