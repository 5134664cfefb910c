//! Verbs that read one znode, or list below it.

use super::super::ask;
use super::super::error::CliError;
use super::super::output::note;
use super::super::target::parent;
use super::super::text::{acl_json, base64, hex, hex_dump, put_data_json, stat_json, stat_lines};
use super::super::verb::Context;
use super::super::walk::{self, Node, Read, Walk};
use super::super::watches::Kind;
use super::super::words::Words;
use crate::client::Request;
use crate::proto::{ErrorCode, Stat};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The flag `-w`, or a second argument, with which zkCli up to 3.4 set a watch.
///
/// Source: `retainCompatibility` of `LsCommand`, `GetCommand` and `StatCommand`.
fn wants_watch(words: &Words, verb: &str, usage: &str) -> bool {
    let is_old = words.arguments.len() > 1;
    if is_old {
        note(&format!("'{verb} path [watch]' has been deprecated. Please use '{usage}' instead."));
    }
    is_old || words.has("w")
}

/// `ls`: the names of children, or with `-R` the paths of the whole subtree.
pub fn ls(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let (full, watch) = (context.full(path)?, wants_watch(words, "ls", "ls [-w] path"));
    if words.has("R") {
        return ls_subtree(context, path, watch);
    }
    let (children, stat) = ask::children(context.link, &full, watch)?;
    if watch {
        context.link.watches.add(Kind::Child, &full);
    }
    if context.out.json {
        return context.out.value(&json!({ "path": path, "children": children, "stat": stat_json(&stat) }));
    }
    context.out.line(&format!("[{}]", children.join(", ")))?;
    if words.has("s") { context.out.text(&stat_lines(&stat)) } else { Ok(()) }
}

fn ls_subtree(context: &mut Context<'_>, path: &str, watch: bool) -> Result<(), CliError> {
    if watch {
        let full = context.full(path)?;
        ask::data(context.link, &full, true)?;
        context.link.watches.add(Kind::Data, &full);
    }
    let how = Walk { watch, system: true, ..Walk::all(Read::Stat) };
    let paths = depth_first(path, walk::collect(context.link, path, how)?);
    if context.out.json {
        return context.out.value(&json!({ "path": path, "paths": paths }));
    }
    paths.iter().try_for_each(|path| context.out.line(path))
}

/// Paths in zkCli's order: the children of a znode, then those of each child.
///
/// Source: `ZKUtil.visitSubTreeDFSHelper`.
fn depth_first(root: &str, nodes: Vec<Node>) -> Vec<String> {
    let mut children: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in nodes.into_iter().filter(|node| node.depth > 0) {
        let parent = parent(&node.path).unwrap_or("/").to_owned();
        children.entry(parent).or_default().push(node.path);
    }
    let mut paths = vec![root.to_owned()];
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let below = children.remove(&path).unwrap_or_default();
        open.extend(below.iter().rev().cloned());
        paths.extend(below);
    }
    paths
}

/// `stat`: the Stat of a znode.
pub fn stat(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let (full, watch) = (context.full(path)?, wants_watch(words, "stat", "stat [-w] path"));
    let stat = ask::exists(context.link, &full, watch)?;
    if watch {
        let kind = if stat.is_some() { Kind::Data } else { Kind::Exist };
        context.link.watches.add(kind, &full);
    }
    let stat = stat.ok_or_else(|| CliError::refused(ErrorCode::NoNode.to_wire(), path))?;
    print_stat(context, path, &stat)
}

/// Writes a Stat: its lines, or `{"path", "stat"}`.
pub fn print_stat(context: &mut Context<'_>, path: &str, stat: &Stat) -> Result<(), CliError> {
    if context.out.json {
        return context.out.value(&json!({ "path": path, "stat": stat_json(stat) }));
    }
    context.out.text(&stat_lines(stat))
}

/// `get`: the data of a znode.
pub fn get(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let (full, watch) = (context.full(path)?, wants_watch(words, "get", "get [-s] [-w] path"));
    let (data, stat) = ask::data(context.link, &full, watch)?;
    if watch {
        context.link.watches.add(Kind::Data, &full);
    }
    if context.out.json {
        let mut object = Map::new();
        object.insert("path".to_owned(), Value::from(path));
        put_data_json(&mut object, data.as_deref());
        object.insert("stat".to_owned(), stat_json(&stat));
        return context.out.value(&Value::Object(object));
    }
    if words.has("raw") {
        context.out.bytes(&data.unwrap_or_default())?;
    } else if words.has("hex") {
        context.out.line(&hex(&data.unwrap_or_default()))?;
    } else if words.has("base64") {
        context.out.line(&base64(&data.unwrap_or_default()))?;
    } else {
        print_data(context, words, data)?;
    }
    if words.has("s") { context.out.text(&stat_lines(&stat)) } else { Ok(()) }
}

/// Data in zkCli's forms, which show null as a word.
fn print_data(context: &mut Context<'_>, words: &Words, data: Option<Vec<u8>>) -> Result<(), CliError> {
    let data = data.unwrap_or_else(|| b"null".to_vec());
    if words.has("x") {
        context.out.line(&hex_dump(&data))
    } else if words.has("b") {
        context.out.line(&base64(&data))
    } else {
        context.out.line(&String::from_utf8_lossy(&data))
    }
}

/// `getAcl`: the access list of a znode.
pub fn get_acl(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let full = context.full(path)?;
    let (acl, stat) = ask::acl(context.link, &full)?;
    if context.out.json {
        return context.out.value(&json!({ "path": path, "acl": acl_json(&acl), "stat": stat_json(&stat) }));
    }
    for entry in &acl {
        context.out.line(&format!("'{},'{}\n: {}", entry.id.scheme, entry.id.id, entry.perms))?;
    }
    if words.has("s") { context.out.text(&stat_lines(&stat)) } else { Ok(()) }
}

/// `getEphemerals`: the ephemerals of this session.
pub fn get_ephemerals(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = if words.arguments.is_empty() { "/" } else { words.argument(0) };
    let full = context.full(path)?;
    let paths = ask::paths(context.link, &full, &Request::GetEphemerals { prefix: full.as_str().into() })?;
    let paths: Vec<String> = paths.iter().map(|path| context.link.target().within(path)).collect();
    if context.out.json {
        return context.out.value(&json!({ "path": path, "ephemerals": paths }));
    }
    context.out.line(&format!("[{}]", paths.join(", ")))
}

/// `getAllChildrenNumber`: how many znodes are below a znode.
pub fn get_all_children_number(context: &mut Context<'_>, words: &Words) -> Result<(), CliError> {
    let path = words.argument(0);
    let full = context.full(path)?;
    let request = Request::GetAllChildrenNumber { path: full.as_str().into() };
    let count = ask::number(context.link, &full, &request)?;
    if context.out.json {
        return context.out.value(&json!({ "path": path, "allChildrenNumber": count }));
    }
    context.out.line(&count.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Children are listed before grandchildren, subtree by subtree, as zkCli does.
    #[test]
    fn order() {
        let node = |path: &str| Node { path: path.into(), depth: path.len() / 2, ..Node::default() };
        let nodes = ["/a", "/b", "/a/c", "/a/d", "/b/e", "/a/c/f"].map(node);
        let nodes = [Node { path: "/".into(), ..Node::default() }].into_iter().chain(nodes).collect();
        assert_eq!(depth_first("/", nodes), ["/", "/a", "/b", "/a/c", "/a/d", "/a/c/f", "/b/e"]);
    }
}
