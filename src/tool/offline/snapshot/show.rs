//! `zkfast snapshot show`.

use super::super::output::{Form, Output};
use super::super::row::{Row, Value};
use super::args::{Part, ShowArgs};
use super::files;
use super::image::Image;
use super::list::header_row;
use super::znode::{Keep, Znode};
use crate::snapshot::ACL_OPEN;
use crate::tree::{ExtendedTypes, OwnerKind};
use std::collections::BTreeMap;
use std::io;

/// Shows the parts of a snapshot that `args` ask for.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &ShowArgs, output: &mut Output) -> io::Result<()> {
    let Some(file) = files::newest(&args.file, output) else { return Ok(()) };
    let keep = if args.data { Keep::Bytes } else { Keep::Length };
    let Some(image) = Image::load(&file, keep, output) else { return Ok(()) };
    let selects = args.path.is_some() || args.session.is_some() || args.zxid.is_some();
    let has = |part| match args.part.is_empty() {
        true => part == Part::Znodes || !selects,
        false => args.part.contains(&part),
    };
    if has(Part::Header) {
        let row = header_row(&file, &image.about);
        output.row(&headed("snapshot", output, row))?;
    }
    if has(Part::Sessions) {
        sessions(&image, output)?;
    }
    if has(Part::Acls) {
        for (&id, acl) in image.acls.iter().filter(|(id, _)| **id != ACL_OPEN) {
            let row = Row::new().with("id", Value::Int(id.into())).with("acl", Value::Acl(acl.clone()));
            output.row(&headed("acl", output, row))?;
        }
    }
    if has(Part::Znodes) {
        znodes(args, &image, output)?;
    }
    Ok(())
}

/// A row that begins with what it is; znodes, which are most rows, begin with their path in text.
fn headed(what: &'static str, output: &Output, row: Row) -> Row {
    match output.form() {
        Form::Text if what == "znode" => row,
        _ => row.first("record", Value::Text(what.to_owned())),
    }
}

fn sessions(image: &Image, output: &mut Output) -> io::Result<()> {
    let mut ephemerals = BTreeMap::new();
    for node in &image.nodes {
        if let OwnerKind::Ephemeral { session_id } = node.owner.kind(ExtendedTypes::On) {
            *ephemerals.entry(session_id).or_insert(0u64) += 1;
        }
    }
    for (id, &timeout_ms) in &image.sessions {
        let row = Row::new()
            .with("session", Value::Hex(id.0 as u64))
            .with("timeout_ms", Value::Int(timeout_ms.into()))
            .with("ephemerals", Value::count(ephemerals.get(id).copied().unwrap_or(0)));
        output.row(&headed("session", output, row))?;
    }
    Ok(())
}

fn znodes(args: &ShowArgs, image: &Image, output: &mut Output) -> io::Result<()> {
    let range = args.path.as_ref().map_or(0..image.nodes.len(), |path| image.range(path));
    let is_wanted = |node: &Znode| {
        let is_owned = |session: crate::proto::SessionId| node.owner.0 == session.0;
        let zxids = [node.czxid, node.mzxid, node.pzxid];
        args.session.is_none_or(is_owned)
            && args.zxid.is_none_or(|range| zxids.into_iter().any(|zxid| range.contains(zxid)))
    };
    let wanted = range.filter(|index| is_wanted(&image.nodes[*index]));
    for index in wanted.take(args.limit.unwrap_or(usize::MAX)) {
        let node = &image.nodes[index];
        let row = node.row(image.acl(node), image.below[index].children);
        output.row(&headed("znode", output, row))?;
    }
    Ok(())
}
