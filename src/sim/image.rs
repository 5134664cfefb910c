//! Images that a view takes of its tree, for learners.

use crate::driver::{ImageOrigin, Replaced};
use crate::proto::{SessionId, Zxid};
use crate::replica::View;
use crate::tree::{ImageOf, NodeImage};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A view's image of its tree, for a learner.
#[derive(Debug)]
pub(crate) struct Image {
    pub zxid: Zxid,
    pub sessions: BTreeMap<SessionId, i32>,
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

/// An image that a view takes for a learner.
#[derive(Debug)]
pub(crate) struct Imaging {
    pub origin: ImageOrigin,
    pub sessions: BTreeMap<SessionId, i32>,
    pub gathered: Rc<RefCell<Gathered>>,
}

impl Imaging {
    /// Begins one.
    pub fn begin(view: &mut View) -> Self {
        let (origin, _, sessions) = ImageOrigin::begin(view, ImageOf::Learner);
        let gathered = Rc::new(RefCell::new(Gathered::Some(Vec::new())));
        Self { origin, sessions: sessions.into_iter().collect(), gathered }
    }

    /// Takes a slice of `places` places of the tree; false once that was the last one.
    ///
    /// # Errors
    /// The image is given up.
    pub fn next_slice(&mut self, view: &mut View, places: u32) -> Result<bool, Replaced> {
        let mut gathered = self.gathered.borrow_mut();
        let more = view.image_slice(ImageOf::Learner, places, usize::MAX, gathered.nodes());
        let slice = self.origin.check(view).map(|()| more);
        match slice {
            Ok(true) => {}
            Ok(false) => *gathered = Gathered::All(std::mem::take(gathered.nodes())),
            Err(Replaced) => *gathered = Gathered::GivenUp,
        }
        slice
    }
}
