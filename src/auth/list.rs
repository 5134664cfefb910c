//! An access control list as znodes share it, with an index where it is long.

use super::ip::{Address, Range};
use super::sasl::{self, SaslPolicy};
use super::{Policy, is_world};
use crate::proto::acl::{Acl, Id, Perms, SUPER};
use foldhash::fast::FixedState;
use hashbrown::hash_table::Entry;
use hashbrown::{HashMap, HashTable};
use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::OnceLock;

/// Entries times ids up to which each entry is compared with each id; beyond that the index is asked. A client chooses
/// both: 50,000 entries and 20,000 ids are seconds of comparing, for each of thousands of requests in one packet.
const COMPARED_MAX: usize = 64;

/// The entries of a znode's access control list, in order.
#[derive(Debug, Default)]
pub struct AclList {
    entries: Vec<Acl>,
    /// Made when it is needed first.
    index: OnceLock<Box<Index>>,
}

#[derive(Debug)]
struct Index {
    hasher: FixedState,
    /// Each id once: the place of its first entry, and what all its entries permit.
    ids: HashTable<(u32, Perms)>,
    /// Each range of addresses once, and what all its entries permit.
    ranges: HashMap<Range, Perms, FixedState>,
    /// Lengths of the prefixes of ranges.
    lengths: Vec<u32>,
    /// What is permitted to everybody.
    world: Perms,
}

impl Index {
    fn of(entries: &[Acl]) -> Self {
        let hasher = FixedState::default();
        let mut ids: HashTable<(u32, Perms)> = HashTable::with_capacity(entries.len());
        let mut ranges = HashMap::with_hasher(FixedState::default());
        let mut world = Perms(0);
        for (place, entry) in entries.iter().enumerate() {
            if is_world(&entry.id) {
                world = world.or(entry.perms);
            }
            if &*entry.id.scheme == "ip" {
                if let Some(range) = Range::parse(&entry.id.id) {
                    let perms = ranges.entry(range).or_insert(Perms(0));
                    *perms = perms.or(entry.perms);
                }
                continue;
            }
            let known = ids.entry(
                hasher.hash_one(&entry.id),
                |(place, _)| entries[*place as usize].id == entry.id,
                |(place, _)| hasher.hash_one(&entries[*place as usize].id),
            );
            match known {
                Entry::Occupied(mut known) => {
                    let (_, perms) = known.get_mut();
                    *perms = perms.or(entry.perms);
                }
                Entry::Vacant(vacant) => _ = vacant.insert((place as u32, entry.perms)),
            }
        }
        let mut lengths: Vec<u32> = ranges.keys().map(Range::bits).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { hasher, ids, ranges, lengths, world }
    }

    /// What is permitted to `id`, which is none of the ip scheme.
    fn of_id(&self, entries: &[Acl], id: &Id) -> Perms {
        let found = self.ids.find(self.hasher.hash_one(id), |(place, _)| entries[*place as usize].id == *id);
        found.map_or(Perms(0), |(_, perms)| *perms)
    }

    /// What is permitted to `id` of scheme `sasl`.
    fn of_sasl(&self, entries: &[Acl], id: &Id, policy: &SaslPolicy) -> Perms {
        if &*id.id == sasl::SUPER_USER {
            let of_scheme = entries.iter().filter(|entry| entry.id.scheme == id.scheme);
            return of_scheme.fold(Perms(0), |all, entry| all.or(entry.perms));
        }
        let any =
            policy.any_user.as_ref().map(|any| Id { scheme: id.scheme.clone(), id: any.as_str().into() });
        let of_any = any.map_or(Perms(0), |any| self.of_id(entries, &any));
        self.of_id(entries, id).or(of_any)
    }

    /// What is permitted to the peer at `address`.
    fn of_address(&self, address: &str) -> Perms {
        let Some(address) = Address::parse(address) else { return Perms(0) };
        let ranges = self.lengths.iter().filter_map(|bits| Range::around(address, *bits));
        let perms = ranges.filter_map(|range| self.ranges.get(&range));
        perms.fold(Perms(0), |all, perms| all.or(*perms))
    }
}

impl AclList {
    fn index(&self) -> &Index {
        self.index.get_or_init(|| Box::new(Index::of(&self.entries)))
    }
}

impl Policy {
    /// [`Policy::permits`] for a list as a znode has it, `None` for the open one, in a time that does not grow with
    /// the entries times the ids.
    #[inline]
    pub fn permits_by(&self, list: Option<&AclList>, wanted: Perms, ids: &[Id]) -> bool {
        match list {
            None => true,
            Some(list) if list.entries.len() * ids.len() <= COMPARED_MAX => {
                self.permits(&list.entries, wanted, ids)
            }
            Some(list) => self.permits_long(list, wanted, ids),
        }
    }

    fn permits_long(&self, list: &AclList, wanted: Perms, ids: &[Id]) -> bool {
        if list.entries.is_empty() || self.skip_acl || ids.iter().any(|id| &*id.scheme == SUPER) {
            return true;
        }
        let index = list.index();
        index.world.intersects(wanted)
            || ids.iter().any(|id| {
                let perms = match &*id.scheme {
                    "ip" => index.of_address(&id.id),
                    "sasl" if self.sasl.is_scheme => index.of_sasl(&list.entries, id, &self.sasl),
                    scheme if self.is_authenticated(scheme) => index.of_id(&list.entries, id),
                    _ => return false,
                };
                perms.intersects(wanted)
            })
    }

    /// How much work [`Self::permits_by`] is, in entries or ids looked at.
    pub fn work(list: Option<&AclList>, ids: &[Id]) -> usize {
        match list {
            None => 0,
            Some(list) if list.entries.len() * ids.len() <= COMPARED_MAX => 0,
            Some(list) if list.index.get().is_none() => list.entries.len() + ids.len(),
            Some(_) => ids.len(),
        }
    }
}

impl From<Vec<Acl>> for AclList {
    fn from(entries: Vec<Acl>) -> Self {
        Self { entries, index: OnceLock::new() }
    }
}

impl Deref for AclList {
    type Target = [Acl];
    fn deref(&self) -> &[Acl] {
        &self.entries
    }
}

impl PartialEq for AclList {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for AclList {}

impl Hash for AclList {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entries.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index permits what comparing each entry with each id does, for every scheme, with digest on and off.
    #[test]
    fn index_is_no_other_answer() {
        let acl = |perms: i32, scheme: &str, id: &str| Acl { perms: Perms(perms), id: Id::new(scheme, id) };
        let mut entries = vec![
            acl(1, "digest", "a:1"),
            acl(2, "digest", "a:1"),
            acl(4, "sasl", "a:1"),
            acl(2, "sasl", "all"),
            acl(8, "ip", "10.0.0.0/8"),
            acl(16, "ip", "10.1.2.3"),
            acl(2, "ip", "::1/64"),
            acl(1, "ip", "nonsense"),
            acl(16, "world", "someone"),
            acl(8, "x509", "CN=b"),
            acl(31, "unknown", "c"),
        ];
        entries.extend((0..100).map(|n| acl(1, "digest", &format!("many:{n}"))));
        let mut lists = vec![entries.clone()];
        lists.push([&entries[..], &[acl(4, "world", "anyone")]].concat());
        let ids = [
            Id::new("digest", "a:1"),
            Id::new("digest", "many:77"),
            Id::new("digest", "no-one"),
            Id::new("sasl", "a:1"),
            Id::new("sasl", "ann"),
            Id::new("sasl", "super"),
            Id::new("ip", "10.1.2.3"),
            Id::new("ip", "10.9.9.9"),
            Id::new("ip", "11.1.1.1"),
            Id::new("ip", "0:0:0:0:0:0:0:7"),
            Id::new("ip", "none"),
            Id::new("world", "someone"),
            Id::new("x509", "CN=b"),
            Id::new("unknown", "c"),
            Id::new("super", ""),
        ];
        let policies = [
            Policy::default(),
            Policy { digest_enabled: false, ..Policy::default() },
            Policy { skip_acl: true, ..Policy::default() },
            Policy { sasl: SaslPolicy { is_scheme: true, ..SaslPolicy::default() }, ..Policy::default() },
            Policy {
                sasl: SaslPolicy {
                    is_scheme: true,
                    any_user: Some("all".to_owned()),
                    ..SaslPolicy::default()
                },
                ..Policy::default()
            },
        ];
        for entries in lists {
            let list = AclList::from(entries.clone());
            for policy in &policies {
                for wanted in 1..32 {
                    for (at, id) in ids.iter().enumerate() {
                        for ids in [&ids[at..=at], &ids[at..], &[]] {
                            let one_by_one = policy.permits(&entries, Perms(wanted), ids);
                            let indexed = policy.permits_long(&list, Perms(wanted), ids);
                            assert_eq!(indexed, one_by_one, "{wanted} {id:?} {ids:?}");
                            assert_eq!(policy.permits_by(Some(&list), Perms(wanted), ids), one_by_one);
                        }
                    }
                }
            }
        }
    }
}
