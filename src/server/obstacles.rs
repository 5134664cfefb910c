//! Finds what would keep a server from starting on this host, without changing anything: for `zkfast check`.
//!
//! It ignores the lock and ports that a running server holds now, and does not read the contents of data files.

use super::binding::resolve;
use super::cores::{NoCpu, Roles};
use super::{files, java_data, kerberos, preflight, rt};
use crate::config::Config;
use crate::tls::Acceptor;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::path::Path;

/// The obstacles, each with the key or flag that causes it, or an empty name.
pub fn obstacles(config: &Config) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let (data, log) = (config.data_dir.as_path(), config.data_log_dir.as_path());
    let bases = [("dataDir", data), ("dataLogDir", log)];
    let bases = &bases[..if log == data { 1 } else { 2 }];
    // The reader of the configuration has refused an empty one.
    for &(key, base) in bases.iter().filter(|(_, base)| !base.as_os_str().is_empty()) {
        if let Err(why) = directory(base, config.data_dir_autocreate) {
            found.push((key, why));
        }
    }
    if found.is_empty() {
        if let Err((key, error)) = files::check_folders(data, log) {
            found.push((key, error.to_string()));
        }
        // A start would import ZooKeeper's data.
        match java_data::only_java(data, log) {
            Err(error) => found.push(("dataDir", error.to_string())),
            Ok(None) => {}
            Ok(Some(_)) => {
                for &(key, base) in bases {
                    let folder = base.join(java_data::FOLDER);
                    if folder.exists()
                        && let Err(why) = files_in(&folder)
                    {
                        found.push((key, why));
                    }
                }
            }
        }
    }
    for (key, host) in [
        ("clientPortAddress", &config.client_port_address),
        ("secureClientPortAddress", &config.secure_client_port_address),
    ] {
        if let Some(host) = host
            && let Err(error) = listens(host)
        {
            found.push((key, format!("{host}: {error}")));
        }
    }
    if let Some(Err(why)) = config.client_tls.clone().map(Acceptor::new) {
        found.push(("", why));
    }
    found.extend(kerberos::obstacle(config));
    match Roles::find(config) {
        Ok(roles) => {
            let shards = roles.views.len();
            found.extend(preflight::check(config, shards).err().map(|why| ("", why)));
            found.extend(rt::choose(config.engine, shards).err().map(|why| ("", why)));
        }
        Err(error) => {
            let flag = if matches!(error, NoCpu::NotAllowed { .. }) { "--cores" } else { "" };
            found.push((flag, error.to_string()));
        }
    }
    found
}

/// Fails if the address is not one of this host's. It does not check that a port is free; a name that does not resolve
/// was refused before.
fn listens(host: &str) -> io::Result<()> {
    match resolve(host).ok().flatten().map(|ip| UdpSocket::bind((ip, 0))) {
        Some(Err(error)) if error.kind() == ErrorKind::AddrNotAvailable => Err(error),
        _ => Ok(()),
    }
}

/// Fails if a server of this user cannot keep its files in `base`, which it creates if `may_create`.
fn directory(base: &Path, may_create: bool) -> Result<(), String> {
    let folder = base.join(files::FOLDER);
    // The nearest that exists: the folder, or the parent in which a start creates it.
    let mut nearest = None;
    for path in folder.ancestors().map(files::or_current) {
        match fs::symlink_metadata(path) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(refused(path, error)),
            Ok(_) => {
                nearest = Some(path);
                break;
            }
        }
    }
    let Some(path) = nearest else { return Err(format!("{}: nothing of it is there", base.display())) };
    match fs::metadata(path) {
        Ok(data) if !data.is_dir() => return Err(format!("{} is a file, and no directory", path.display())),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let target = fs::read_link(path).unwrap_or_default();
            return Err(format!(
                "{} is a symbolic link to {}, which is not there",
                path.display(),
                target.display()
            ));
        }
        Err(error) => return Err(refused(path, error)),
    }
    let (is_folder, is_base) = (path == folder, path == files::or_current(base));
    if !is_folder && !is_base && !may_create {
        return Err(files::DirError::Missing(base.to_owned()).to_string());
    }
    may(path, Access::WRITE_OK | Access::EXEC_OK)?;
    // A start flushes the folders in which it creates something, so it must open them.
    if is_folder {
        may(path, Access::READ_OK)?;
    }
    if is_folder || is_base {
        may(files::or_current(base), Access::READ_OK)?;
    }
    let above = base.canonicalize().ok().and_then(|base| base.parent().map(Path::to_owned));
    match above {
        Some(above) => may(&above, Access::READ_OK)?,
        None if base.parent().map(files::or_current) == Some(path) => may(path, Access::READ_OK)?,
        None => {}
    }
    if is_folder { files_in(path) } else { Ok(()) }
}

/// Fails if this user may not read the files of a folder, or not take its lock.
fn files_in(folder: &Path) -> Result<(), String> {
    for entry in fs::read_dir(folder).map_err(|error| refused(folder, error))? {
        let entry = entry.map_err(|error| refused(folder, error))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let is_lock = entry.file_name() == "lock";
            may(&entry.path(), if is_lock { Access::WRITE_OK } else { Access::READ_OK })?;
        }
    }
    Ok(())
}

fn may(path: &Path, access: Access) -> Result<(), String> {
    accessat(CWD, path, access, AtFlags::EACCESS).map_err(|error| refused(path, error.into()))
}

fn refused(path: &Path, error: io::Error) -> String {
    let user = rustix::process::geteuid().as_raw();
    format!("{}: {error} (user {user})", path.display())
}
