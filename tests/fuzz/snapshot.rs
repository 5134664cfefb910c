//! zkfast's own snapshots.

use bytes::BufMut;
use zkfast::database::Database;
use zkfast::proto::Zxid;
use zkfast::storage::{self, ImageEncoder};
use zkfast::tree::{self, Digests, ExtendedTypes};

pub const SETTINGS: tree::Settings =
    tree::Settings { extended_types: ExtendedTypes::On, digests: Digests::Kept, hash_seed: 1 };

/// Before each chunk: its length, and its checksum.
const CHUNK_HEADER_BYTES: usize = 8;
/// First byte of the footer.
const FOOTER: u8 = 5;
/// Where in the footer's chunk the checksum over all checksums is.
const TOTAL_AT: usize = 1 + 3 * 8 + 4;

/// A file. A checksum of 0 is put right first, or few inputs would come past it.
pub fn check(input: &[u8]) -> bool {
    let mut file = input.to_vec();
    seal(&mut file);
    let Ok(mut database) = storage::decode(&file, SETTINGS) else { return false };
    check_database(&mut database);
    // One that is cut, and one with something after it, is none.
    assert!(storage::decode(&file[..file.len() - 1], SETTINGS).is_err());
    file.push(0);
    assert!(storage::decode(&file, SETTINGS).is_err());
    true
}

fn seal(file: &mut [u8]) {
    let (mut at, mut index, mut total) = (0, 0, crc32fast::Hasher::new());
    while let Some(header) = file.get(at..at + CHUNK_HEADER_BYTES) {
        let length: [u8; 4] = header[..4].try_into().unwrap();
        let start = at + CHUNK_HEADER_BYTES;
        let Some(end) = start.checked_add(u32::from_be_bytes(length) as usize) else { return };
        let Some(payload) = file.get_mut(start..end) else { return };
        if payload.first() == Some(&FOOTER)
            && let Some(place) = payload.get_mut(TOTAL_AT..TOTAL_AT + 4)
            && place == [0; 4]
        {
            place.copy_from_slice(&total.clone().finalize().to_be_bytes());
        }
        let mut crc = crc32fast::Hasher::new_with_initial(index);
        crc.update(&length);
        crc.update(payload);
        let place = &mut file[at + 4..start];
        if place == [0; 4] {
            place.copy_from_slice(&crc.finalize().to_be_bytes());
        }
        total.update(&file[at + 4..start]);
        (at, index) = (end, index + 1);
    }
}

/// A tree with its sessions is written, read, and written the same.
pub fn check_database(database: &mut Database) {
    let first = image(database);
    let mut again = storage::decode(&first, SETTINGS).expect("what was written can be read");
    assert_eq!(again.zxid, database.zxid);
    assert_eq!(again.sessions, database.sessions);
    assert_eq!(again.tree.len(), database.tree.len());
    assert_eq!(again.tree.digest(), database.tree.digest());
    assert_eq!(again.tree.data_bytes(), database.tree.data_bytes());
    assert_eq!(again.tree.ephemeral_count(), database.tree.ephemeral_count());
    let root = |tree: &tree::Tree| tree.subtree(tree.find(b"/").expect("there is a root"));
    assert_eq!(root(&again.tree), root(&database.tree));
    assert_eq!(image(&mut again), first);
}

pub fn image(database: &mut Database) -> Vec<u8> {
    let mut file = Vec::new();
    ImageEncoder::all(database, 0, |bytes| {
        file.extend_from_slice(bytes);
        Ok(())
    })
    .expect("memory takes all");
    file
}

/// The tree that the sample of txns makes, after `txns` of them.
pub fn sample(txns: usize) -> Database {
    let mut database = Database::fresh(SETTINGS);
    for (txn, counter) in super::txn::sample().iter().take(txns).zip(1..) {
        database.replay(Zxid::new(1, counter), txn).expect("they follow each other");
    }
    database
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for txns in [0, 7, 11] {
        let mut file = image(&mut sample(txns));
        seeds.push(file.clone());
        // With checksums to be put right, and no digest of the tree: what is changed in it then counts.
        let (mut at, digest_at) = (0, CHUNK_HEADER_BYTES + 1 + 8 + 4 + 8);
        file[digest_at..digest_at + 8].fill(0);
        while let Some(header) = file.get(at..at + CHUNK_HEADER_BYTES) {
            let length = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
            (&mut file[at + 4..at + 8]).put_u32(0);
            let start = at + CHUNK_HEADER_BYTES;
            if file[start] == FOOTER {
                file[start + TOTAL_AT..start + TOTAL_AT + 4].fill(0);
            }
            at = start + length;
        }
        seeds.push(file);
    }
    seeds
}
