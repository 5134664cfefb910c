//! `zkfast snapshot summary`.

use super::super::output::Output;
use super::super::row::{Row, Value};
use super::args::SummaryArgs;
use super::files;
use super::image::Image;
use super::znode::Keep;
use std::io;

/// Sums up subtrees. Source: `SnapshotRecursiveSummary`, 3.9: all levels count, those down to the depth are shown, and of
/// these the znodes that have children.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &SummaryArgs, output: &mut Output) -> io::Result<()> {
    let Some(file) = files::newest(&args.file, output) else { return Ok(()) };
    let Some(image) = Image::load(&file, Keep::Length, output) else { return Ok(()) };
    let range = image.range(&args.path);
    if range.is_empty() {
        output.unreadable(&file.path, format_args!("it has no {}", args.path.root()));
        return Ok(());
    }
    let top = image.below[range.start].depth;
    for index in range.clone() {
        let (node, below) = (&image.nodes[index], &image.below[index]);
        let level = below.depth - top;
        let is_shown = (args.depth == 0 || level <= args.depth) && below.children > 0;
        // The subtree that was asked for is shown though it is a leaf.
        if !is_shown && index != range.start {
            continue;
        }
        let row = Row::new()
            .prefix(" ".repeat(2 * level))
            .bare("path", Value::path(&node.path))
            .with("children", Value::Int(below.children.into()));
        output.row(
            &row.with("descendants", Value::count(below.nodes)).with("bytes", Value::count(below.bytes)),
        )?;
    }
    Ok(())
}
