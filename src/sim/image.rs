//! Images that a view takes of its tree, for a learner or a snapshot.

use crate::proto::Zxid;
use crate::replica::View;
use crate::snapshot::Header;
use crate::storage::ImageEncoder;
use crate::tree::{ImageOf, NodeImage};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A view's image of its tree, for a learner.
#[derive(Debug)]
pub(crate) struct Image {
    pub zxid: Zxid,
    pub sessions: BTreeMap<i64, i32>,
    pub gathered: Rc<RefCell<Gathered>>,
}

/// The znodes of an image.
#[derive(Debug)]
pub(crate) enum Gathered {
    Some(Vec<NodeImage>),
    All(Vec<NodeImage>),
    /// The view's tree was replaced.
    GivenUp,
}

impl Gathered {
    /// The znodes so far, of an image that goes on.
    pub fn nodes(&mut self) -> &mut Vec<NodeImage> {
        match self {
            Self::Some(nodes) => nodes,
            ended => unreachable!("an image goes on that has ended: {ended:?}"),
        }
    }
}

/// An image that a view takes.
#[derive(Debug)]
pub(crate) struct Imaging {
    /// How often the tree had been replaced.
    pub resets: u32,
    pub header: Header,
    pub sessions: BTreeMap<i64, i32>,
    pub gathered: Rc<RefCell<Gathered>>,
}

impl Imaging {
    /// Begins one.
    pub fn begin(view: &mut View, of: ImageOf) -> Self {
        let (zxid, digest, sessions) = view.begin_image(of);
        Self {
            resets: view.resets(),
            header: Header { zxid, digest, wall_ms: 0 },
            sessions: sessions.into_iter().collect(),
            gathered: Rc::new(RefCell::new(Gathered::Some(Vec::new()))),
        }
    }

    /// The snapshot's bytes, of an image that is whole.
    pub fn encode(&self) -> Vec<u8> {
        let gathered = self.gathered.borrow();
        let Gathered::All(nodes) = &*gathered else { unreachable!("encoded before it is whole") };
        let mut bytes = Vec::new();
        let mut encoder = ImageEncoder::new(&self.header, self.sessions.clone());
        for node in nodes {
            encoder.put(node);
            if encoder.is_chunk_due() {
                bytes.extend(encoder.take_chunk());
            }
        }
        bytes.extend(encoder.finish().0);
        bytes
    }
}
