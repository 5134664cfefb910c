//! `zkfast snapshot sizes`.

use super::super::output::{Form, Output};
use super::super::row::{Row, Value};
use super::args::SizesArgs;
use super::files;
use super::image::Image;
use super::znode::Keep;
use std::io;

/// Shows the largest znodes, and those with the most children.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &SizesArgs, output: &mut Output) -> io::Result<()> {
    let Some(file) = files::newest(&args.file, output) else { return Ok(()) };
    let Some(image) = Image::load(&file, Keep::Length, output) else { return Ok(()) };
    let range = args.path.as_ref().map_or(0..image.nodes.len(), |path| image.range(path));
    let data = |index: usize| image.nodes[index].data.len() as u64;
    let children = |index: usize| u64::from(image.below[index].children);
    for index in top(range.clone(), args.top, data) {
        let row = headed("data", output).bare("path", Value::path(&image.nodes[index].path));
        output.row(&row.with("bytes", Value::count(data(index))))?;
    }
    for index in top(range, args.top, children) {
        let row = headed("children", output).bare("path", Value::path(&image.nodes[index].path));
        // What getChildren answers with grows by these.
        let name_bytes = Value::count(image.below[index].name_bytes);
        output.row(&row.with("children", Value::count(children(index))).with("name_bytes", name_bytes))?;
    }
    Ok(())
}

/// The places with the `count` highest sizes above 0, highest first, equal ones in their order.
fn top(range: std::ops::Range<usize>, count: usize, size: impl Fn(usize) -> u64) -> Vec<usize> {
    let mut places: Vec<usize> = range.filter(|index| size(*index) > 0).collect();
    places.sort_by_key(|index| std::cmp::Reverse(size(*index)));
    places.truncate(count);
    places
}

fn headed(by: &'static str, output: &Output) -> Row {
    match output.form() {
        Form::Text => Row::new().bare("by", Value::Text(format!("{by}:"))),
        Form::Json => Row::new().with("by", Value::Text(by.to_owned())),
    }
}
