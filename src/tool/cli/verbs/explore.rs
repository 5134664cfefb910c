//! Verbs that look at a whole subtree.

use super::super::error::CliError;
use super::super::glob;
use super::super::target::{name, parent};
use super::super::text::stat_json;
use super::super::verb::Context;
use super::super::walk::{self, Node, Read, Walk};
use super::super::words::Words;
use crate::proto::SessionId;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Levels that `du` shows below its root, unless `-L` says another number.
const DU_DEPTH_DEFAULT: usize = 1;

/// Levels of objects within each other. Programs that read JSON have limits of their own, most of them at 512 or above.
const NESTED_LEVELS_MAX: usize = 500;

/// Paths of each znode's children.
type Children<'a> = BTreeMap<&'a str, Vec<&'a Node>>;

fn children_of(nodes: &[Node]) -> Children<'_> {
    let mut children = Children::new();
    for node in nodes.iter().filter(|node| node.depth > 0) {
        children.entry(parent(&node.path).unwrap_or("/")).or_default().push(node);
    }
    children
}

/// `tree`: the subtree, drawn.
pub fn tree(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = root(context, words)?;
    let how = Walk { depth_max: words.number("L")?, ..Walk::all(Read::Stat) };
    let nodes = walk::collect(context.link, &path, how)?;
    let children = children_of(&nodes);
    if context.out.json {
        if nodes.iter().any(|node| node.depth > NESTED_LEVELS_MAX) {
            let why = format!("the tree has more than {NESTED_LEVELS_MAX} levels: -L shows some of them");
            return Err(CliError::Failed(why));
        }
        return context.out.value(&nested(&nodes, &children));
    }
    context.out.line(&path)?;
    // Of each open znode: what stands before its children, and those that are still to be drawn.
    let below = |path: &str| children.get(path).cloned().unwrap_or_default().into_iter();
    let mut open = vec![(String::new(), below(&path).peekable())];
    while let Some((prefix, nodes)) = open.last_mut() {
        let Some(node) = nodes.next() else {
            open.pop();
            continue;
        };
        let (branch, space) =
            if nodes.peek().is_some() { ("├── ", "│   ") } else { ("└── ", "    ") };
        let mark = if node.stat.ephemeral_owner.is_some() { " (ephemeral)" } else { "" };
        context.out.line(&format!("{prefix}{branch}{}{mark}", name(&node.path)))?;
        let prefix = format!("{prefix}{space}");
        open.push((prefix, below(&node.path).peekable()));
    }
    Ok(())
}

/// The tree as objects `{"path", "stat", "children"}` within each other, made from the leaves up.
fn nested(nodes: &[Node], children: &Children<'_>) -> Value {
    let mut done: BTreeMap<&str, Value> = BTreeMap::new();
    for node in nodes.iter().rev() {
        let below = children.get(node.path.as_str()).map_or(&[][..], Vec::as_slice);
        let below: Vec<Value> = below.iter().filter_map(|child| done.remove(child.path.as_str())).collect();
        done.insert(
            &node.path,
            json!({ "path": node.path, "stat": stat_json(&node.stat), "children": below }),
        );
    }
    nodes.first().and_then(|root| done.remove(root.path.as_str())).unwrap_or(Value::Null)
}

/// The argument, or the root.
fn root(context: &Context<'_>, words: &Words) -> Result<String, CliError> {
    let path = if words.arguments.is_empty() { "/" } else { words.argument(0) };
    context.full(path)?;
    Ok(path.to_owned())
}

/// What a subtree takes.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    znodes: u64,
    ephemerals: u64,
    /// Of data alone.
    bytes: u64,
}

/// `du`: bytes of data and znodes of each subtree.
pub fn du(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = root(context, words)?;
    let depth_max = words.number("L")?.unwrap_or(DU_DEPTH_DEFAULT);
    let mut usage: BTreeMap<String, Usage> = BTreeMap::new();
    let unreadable = walk::walk(context.link, &path, Walk::all(Read::Stat), &mut |node| {
        // A znode counts for itself and for each one above it, as far as these are shown.
        let mut counted = Some(node.path.as_str());
        for depth in (0..=node.depth).rev() {
            let Some(path) = counted else { break };
            if depth <= depth_max {
                let sum = usage.entry(path.to_owned()).or_default();
                sum.znodes += 1;
                sum.ephemerals += u64::from(node.stat.ephemeral_owner.is_some());
                sum.bytes += u64::try_from(node.stat.data_bytes).unwrap_or(0);
            }
            counted = parent(path);
        }
        Ok(())
    })?;
    for (path, sum) in &usage {
        if context.out.json {
            context.out.value(&json!({
                "path": path, "znodes": sum.znodes, "ephemerals": sum.ephemerals, "bytes": sum.bytes,
            }))?;
        } else {
            context.out.line(&format!("{:>12} {:>9} {path}", sum.bytes, sum.znodes))?;
        }
    }
    walk::complete(unreadable)
}

/// What `find` looks for; `None` is anything.
struct Wanted {
    name: Option<String>,
    is_ephemeral: Option<bool>,
    owner: Option<SessionId>,
    size: Option<(Ordering, i32)>,
}

impl Wanted {
    fn read(words: &Words) -> Result<Self, CliError> {
        let is_ephemeral = match words.value("type") {
            None => None,
            Some("ephemeral" | "e") => Some(true),
            Some("persistent" | "p") => Some(false),
            Some(other) => {
                return Err(CliError::Usage(format!("--type takes ephemeral or persistent, not {other:?}")));
            }
        };
        let owner = words.value("owner").map(|text| {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            let owner = u64::from_str_radix(digits, 16);
            owner.map(|owner| SessionId(owner.cast_signed())).map_err(|_| {
                CliError::Usage(format!("--owner takes a session's id in hex digits, not {text:?}"))
            })
        });
        let size = words.value("size").map(|text| {
            let (order, digits) = match text.split_at_checked(1) {
                Some(("+", digits)) => (Ordering::Greater, digits),
                Some(("-", digits)) => (Ordering::Less, digits),
                _ => (Ordering::Equal, text),
            };
            let bytes = digits
                .parse()
                .map_err(|_| CliError::Usage(format!("--size takes N, +N or -N bytes, not {text:?}")));
            bytes.map(|bytes| (order, bytes))
        });
        let name = words.value("name").map(str::to_owned);
        Ok(Self { name, is_ephemeral, owner: owner.transpose()?, size: size.transpose()? })
    }

    fn fits(&self, node: &Node) -> bool {
        let stat = &node.stat;
        self.name.as_ref().is_none_or(|pattern| glob::matches(pattern, name(&node.path)))
            && self.is_ephemeral.is_none_or(|wanted| wanted == stat.ephemeral_owner.is_some())
            && self.owner.is_none_or(|wanted| wanted == stat.ephemeral_owner)
            && self.size.is_none_or(|(order, bytes)| stat.data_bytes.cmp(&bytes) == order)
    }
}

/// `find`: the paths of the znodes of a subtree that fit.
pub fn find(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = root(context, words)?;
    let wanted = Wanted::read(words)?;
    let how = Walk { depth_max: words.number("L")?, ..Walk::all(Read::Stat) };
    let (link, out) = (&mut *context.link, &mut *context.out);
    let unreadable = walk::walk(link, &path, how, &mut |node| {
        if !wanted.fits(&node) {
            return Ok(());
        }
        if out.json {
            return out.value(&json!({ "path": node.path, "stat": stat_json(&node.stat) }));
        }
        out.line(&node.path)
    })?;
    walk::complete(unreadable)
}
