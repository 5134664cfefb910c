//! Which backend serves: the one that `--engine` names, or the best that the kernel and the container allow.

use super::Backend;
use super::probe::{Refused, probe};
use crate::config::Engine;
use crate::server::preflight;

/// A backend, and why it is that one.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What shards are spawned on.
    pub backend: Backend,
    /// For the log.
    pub why: String,
}

/// The backend for this process: of the engine that is `asked` for, or else io_uring where it works and epoll elsewhere.
/// `shards` is the number of views.
///
/// # Errors
/// Why the engine that is asked for does not work here, and what to do.
pub fn choose(asked: Option<Engine>, shards: usize) -> Result<Choice, String> {
    choose_by(asked, || probe(shards), || preflight::old_io_uring(shards))
}

fn choose_by(
    asked: Option<Engine>,
    ring: impl FnOnce() -> Result<(), Refused>,
    glommio: impl FnOnce() -> Result<(), String>,
) -> Result<Choice, String> {
    let chosen = |backend, why: String| Ok(Choice { backend, why });
    if asked == Some(Engine::Epoll) {
        return chosen(Backend::Epoll, "--engine epoll".to_owned());
    }
    match (ring(), asked) {
        (Ok(()), None) => chosen(Backend::Ring, "the kernel allows it and does what it needs".to_owned()),
        (Ok(()), Some(_)) => chosen(Backend::Ring, "--engine io_uring".to_owned()),
        (Err(refused), None) => chosen(Backend::Epoll, refused.to_string()),
        (Err(refused), Some(_)) if refused.is_old_kernel() => {
            glommio()?;
            chosen(Backend::Glommio, format!("--engine io_uring, through glommio: {refused}"))
        }
        (Err(refused), Some(_)) => Err(format!("--engine io_uring: {refused}; or start with --engine epoll")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// What is asked for runs or is refused; what is not asked for never keeps a server from starting.
    #[test]
    fn choices() {
        let of = |asked, errno: Option<i32>, glommio: Result<(), String>| {
            let ring = || match errno {
                None => Ok(()),
                Some(errno) => Err(Refused::new("io_uring_setup", io::Error::from_raw_os_error(errno))),
            };
            choose_by(asked, ring, || glommio).map(|choice| choice.backend)
        };
        const EPERM: Option<i32> = Some(1);
        const EINVAL: Option<i32> = Some(22);
        for refused in [None, EPERM, EINVAL] {
            assert_eq!(of(Some(Engine::Epoll), refused, Ok(())), Ok(Backend::Epoll));
        }
        assert_eq!(of(None, None, Ok(())), Ok(Backend::Ring));
        assert_eq!(of(None, EPERM, Ok(())), Ok(Backend::Epoll));
        assert_eq!(of(None, EINVAL, Ok(())), Ok(Backend::Epoll));
        assert_eq!(of(Some(Engine::Uring), None, Ok(())), Ok(Backend::Ring));
        assert_eq!(of(Some(Engine::Uring), EINVAL, Ok(())), Ok(Backend::Glommio));
        assert_eq!(of(Some(Engine::Uring), EINVAL, Err("memlock".to_owned())), Err("memlock".to_owned()));
        let error = of(Some(Engine::Uring), EPERM, Ok(())).expect_err("it is refused");
        assert!(error.contains("io_uring_setup") && error.contains("--engine epoll"), "{error}");
    }
}
