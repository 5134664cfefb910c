//! The functions of MIT's library, `libgssapi_krb5.so.2`, and what must not outlive them.
//!
//! Every handle of the library is in a struct that owns it, keeps the library loaded and releases the handle when it is
//! dropped; what the library allocates is copied and released at once. Source: `gssapi.h`, `gssapi_ext.h` and `krb5.h` of MIT
//! Kerberos 1.20; RFC 2744.
#![allow(unsafe_code)]

use libloading::os::unix;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;

const FILE: &str = "libgssapi_krb5.so.2";

/// `OM_uint32`.
type Status = u32;
/// `gss_name_t`, `gss_cred_id_t`, `gss_ctx_id_t`: what they point to only the library knows.
type Handle = *mut c_void;

/// `gss_buffer_desc`.
#[repr(C)]
struct Buffer {
    length: usize,
    value: *mut c_void,
}

/// `gss_OID_desc`.
#[repr(C)]
struct Oid {
    length: u32,
    elements: *const c_void,
}

/// `gss_OID_set_desc`.
#[repr(C)]
struct OidSet {
    count: usize,
    elements: *const Oid,
}

/// `gss_key_value_element_desc`.
#[repr(C)]
struct KeyValue {
    key: *const c_char,
    value: *const c_char,
}

/// `gss_key_value_set_desc`.
#[repr(C)]
struct KeyValues {
    count: u32,
    elements: *const KeyValue,
}

/// Routine errors and calling errors: the upper half of a status. Source: `GSS_ERROR`.
const ERRORS: Status = 0xffff_0000;
const CONTINUE_NEEDED: Status = 1;

/// `GSS_C_MUTUAL_FLAG`, `GSS_C_REPLAY_FLAG`, `GSS_C_SEQUENCE_FLAG`, `GSS_C_INTEG_FLAG`.
const FLAGS: u32 = 2 | 4 | 8 | 32;

/// `GSS_C_GSS_CODE` and `GSS_C_MECH_CODE`: which of two statuses is to be shown.
const OF_INTERFACE: c_int = 1;
const OF_MECHANISM: c_int = 2;

/// Messages of one status that are shown.
const MESSAGES_MAX: usize = 4;

/// 1.2.840.113554.1.2.2, Kerberos.
const KERBEROS: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
/// 1.2.840.113554.1.2.2.1, a name of Kerberos.
const PRINCIPAL: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01";

/// 1.2.840.113554.1.2.1.4, `service@host`.
const SERVICE_OF_HOST: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x01\x04";

/// How a name is written.
#[derive(Clone, Copy, Debug)]
pub enum NameKind {
    /// A principal; one without a realm gets the default one. Source: `GSS_KRB5_NT_PRINCIPAL_NAME`.
    Principal,
    /// `service@host`. Source: `GSS_C_NT_HOSTBASED_SERVICE`.
    ServiceOfHost,
}

/// For which side of exchanges a credential is.
#[derive(Clone, Copy, Debug)]
pub enum Usage {
    /// `GSS_C_INITIATE`.
    Initiate = 1,
    /// `GSS_C_ACCEPT`.
    Accept = 2,
}

/// Declares the struct of the functions, and how they are found.
macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions, by the library's names for them.
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Functions {
            /// Finds each of them.
            ///
            /// # Safety
            /// `library` must be MIT's, whose functions have these types, and stay loaded as long as they are called.
            unsafe fn of(library: &unix::Library) -> Result<Self, libloading::Error> {
                // SAFETY: the caller's promise; a function that is missing is an error.
                unsafe { Ok(Self { $($name: *library.get(stringify!($name).as_bytes())?,)* }) }
            }
        }
    };
}

functions! {
    gss_import_name: fn(*mut Status, *const Buffer, *const Oid, *mut Handle) -> Status;
    gss_display_name: fn(*mut Status, Handle, *mut Buffer, *mut *const Oid) -> Status;
    gss_release_name: fn(*mut Status, *mut Handle) -> Status;
    gss_acquire_cred_from: fn(*mut Status, Handle, u32, *const OidSet, c_int, *const KeyValues, *mut Handle, *mut c_void, *mut u32) -> Status;
    gss_inquire_cred: fn(*mut Status, Handle, *mut Handle, *mut u32, *mut c_int, *mut c_void) -> Status;
    gss_release_cred: fn(*mut Status, *mut Handle) -> Status;
    gss_accept_sec_context: fn(*mut Status, *mut Handle, Handle, *const Buffer, *const c_void, *mut Handle, *mut *const Oid, *mut Buffer, *mut u32, *mut u32, *mut Handle) -> Status;
    gss_init_sec_context: fn(*mut Status, Handle, *mut Handle, Handle, *const Oid, u32, u32, *const c_void, *const Buffer, *mut *const Oid, *mut Buffer, *mut u32, *mut u32) -> Status;
    gss_delete_sec_context: fn(*mut Status, *mut Handle, *mut Buffer) -> Status;
    gss_wrap: fn(*mut Status, Handle, c_int, u32, *const Buffer, *mut c_int, *mut Buffer) -> Status;
    gss_unwrap: fn(*mut Status, Handle, *const Buffer, *mut Buffer, *mut c_int, *mut u32) -> Status;
    gss_display_status: fn(*mut Status, Status, c_int, *const Oid, *mut Status, *mut Buffer) -> Status;
    gss_release_buffer: fn(*mut Status, *mut Buffer) -> Status;
    krb5_init_context: fn(*mut Handle) -> c_int;
    krb5_free_context: fn(Handle) -> ();
    krb5_get_default_realm: fn(Handle, *mut *mut c_char) -> c_int;
    krb5_free_default_realm: fn(Handle, *mut c_char) -> ();
}

/// The library, loaded.
pub struct Library {
    functions: Functions,
    /// Dropped after the functions, of which none is called then.
    _file: unix::Library,
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(FILE)
    }
}

impl Library {
    /// Loads it.
    ///
    /// # Errors
    /// What the dynamic loader says.
    pub fn load() -> Result<Self, String> {
        // SAFETY: the library's initializers set up its own state and depend on nothing of this process.
        let file = unsafe { unix::Library::new(FILE) }.map_err(|error| error.to_string())?;
        // SAFETY: a file of this name and this version has these functions with these types; it is kept as long as they are.
        let functions = unsafe { Functions::of(&file) }.map_err(|error| error.to_string())?;
        Ok(Self { functions, _file: file })
    }

    /// The realm that krb5.conf names for names that have none.
    pub fn default_realm(&self) -> Option<String> {
        let Functions { krb5_init_context, krb5_free_context, .. } = self.functions;
        let Functions { krb5_get_default_realm, krb5_free_default_realm, .. } = self.functions;
        let (mut context, mut realm) = (null_mut(), null_mut());
        // SAFETY: both are written where 0 is returned, used only then, and released once.
        unsafe {
            if krb5_init_context(&raw mut context) != 0 {
                return None;
            }
            let found = (krb5_get_default_realm(context, &raw mut realm) == 0).then(|| {
                let text = CStr::from_ptr(realm).to_string_lossy().into_owned();
                krb5_free_default_realm(context, realm);
                text
            });
            krb5_free_context(context);
            found
        }
    }

    /// Calls a function, and gives the status of one that did not fail.
    ///
    /// # Errors
    /// What the library says of the failure.
    fn call(&self, function: impl FnOnce(&Functions, *mut Status) -> Status) -> Result<Status, String> {
        let mut minor = 0;
        let major = function(&self.functions, &raw mut minor);
        if major & ERRORS == 0 {
            return Ok(major);
        }
        let mut said = self.messages(major, OF_INTERFACE);
        said.extend(self.messages(minor, OF_MECHANISM).into_iter().filter(|_| minor != 0));
        Err(said.join(": "))
    }

    fn messages(&self, status: Status, kind: c_int) -> Vec<String> {
        let (mut messages, mut more) = (Vec::new(), 0);
        let (oid, mut minor) = (oid(KERBEROS), 0);
        while messages.len() < MESSAGES_MAX {
            let mut text = Taken::new(self);
            // SAFETY: every pointer is to a value that lives until the call is over.
            let major = unsafe {
                let display = self.functions.gss_display_status;
                display(&raw mut minor, status, kind, &raw const oid, &raw mut more, text.out())
            };
            if major & ERRORS != 0 {
                messages.push(format!("status {status:#x}"));
                break;
            }
            messages.push(String::from_utf8_lossy(text.bytes()).into_owned());
            if more == 0 {
                break;
            }
        }
        messages
    }
}

/// Names the configuration that the library reads. Call it before the process has threads that read the environment.
pub fn use_configuration(file: &str) {
    // SAFETY: a start calls this while the threads that run are those of the log and of signals, which read no variables.
    unsafe { std::env::set_var("KRB5_CONFIG", file) };
}

fn oid(bytes: &'static [u8]) -> Oid {
    Oid { length: bytes.len() as u32, elements: bytes.as_ptr().cast() }
}

/// What the library is given to read.
fn given(bytes: &[u8]) -> Buffer {
    Buffer { length: bytes.len(), value: bytes.as_ptr().cast_mut().cast() }
}

/// What the library has allocated.
struct Taken<'a> {
    library: &'a Library,
    buffer: Buffer,
}

impl<'a> Taken<'a> {
    fn new(library: &'a Library) -> Self {
        Self { library, buffer: Buffer { length: 0, value: null_mut() } }
    }

    fn out(&mut self) -> *mut Buffer {
        &raw mut self.buffer
    }

    fn bytes(&self) -> &[u8] {
        if self.buffer.value.is_null() {
            return &[];
        }
        // SAFETY: the library has set both to what it has allocated, and nothing changes it until it is released.
        unsafe { std::slice::from_raw_parts(self.buffer.value.cast(), self.buffer.length) }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the buffer is empty or the library's, and is not used after this.
        unsafe { (self.library.functions.gss_release_buffer)(&raw mut minor, &raw mut self.buffer) };
    }
}

/// A name of Kerberos.
#[derive(Debug)]
pub struct Name {
    library: Arc<Library>,
    handle: Handle,
}

// SAFETY: the library is thread-safe: a name does not change once it is made.
unsafe impl Send for Name {}
// SAFETY: as above.
unsafe impl Sync for Name {}

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// What the library says.
    pub fn import(library: &Arc<Library>, name: &str, kind: NameKind) -> Result<Self, String> {
        let kind = match kind {
            NameKind::Principal => PRINCIPAL,
            NameKind::ServiceOfHost => SERVICE_OF_HOST,
        };
        let (text, kind, mut handle) = (given(name.as_bytes()), oid(kind), null_mut());
        // SAFETY: every pointer is to a value that lives until the call is over; the library reads `text`.
        library.call(|gss, minor| unsafe {
            (gss.gss_import_name)(minor, &raw const text, &raw const kind, &raw mut handle)
        })?;
        Ok(Self { library: library.clone(), handle })
    }

    /// The principal with its realm.
    ///
    /// # Errors
    /// What the library says.
    pub fn text(&self) -> Result<String, String> {
        let mut text = Taken::new(&self.library);
        // SAFETY: the name lives, and `text` takes what the library allocates.
        self.library.call(|gss, minor| unsafe {
            (gss.gss_display_name)(minor, self.handle, text.out(), null_mut())
        })?;
        String::from_utf8(text.bytes().to_vec()).map_err(|_| "a name that is not UTF-8".to_owned())
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the handle is this name's alone, and is not used after this.
        unsafe { (self.library.functions.gss_release_name)(&raw mut minor, &raw mut self.handle) };
    }
}

/// Keys or tickets.
#[derive(Debug)]
pub struct Credential {
    library: Arc<Library>,
    handle: Handle,
}

// SAFETY: the library locks a credential while it uses it.
unsafe impl Send for Credential {}
// SAFETY: as above.
unsafe impl Sync for Credential {}

impl Credential {
    /// Those of `name`, or whichever there are, out of the places that `store` names.
    ///
    /// # Errors
    /// What the library says.
    pub fn acquire(
        library: &Arc<Library>,
        name: Option<&Name>,
        usage: Usage,
        store: &[(&str, &str)],
    ) -> Result<Self, String> {
        let text = |text: &str| CString::new(text).map_err(|_| format!("{text:?} has a zero byte"));
        let texts: Result<Vec<(CString, CString)>, String> =
            store.iter().map(|(key, value)| Ok((text(key)?, text(value)?))).collect();
        let texts = texts?;
        let pairs: Vec<KeyValue> =
            texts.iter().map(|(key, value)| KeyValue { key: key.as_ptr(), value: value.as_ptr() }).collect();
        let store = KeyValues { count: pairs.len() as u32, elements: pairs.as_ptr() };
        let kerberos = oid(KERBEROS);
        let mechanisms = OidSet { count: 1, elements: &raw const kerberos };
        let (name, mut handle) = (name.map_or(null_mut(), |name| name.handle), null_mut());
        // SAFETY: every pointer is to a value that lives until the call is over; 0 is the default lifetime, and what is null
        // the library does not write.
        library.call(|gss, minor| unsafe {
            let (store, mechanisms) = (&raw const store, &raw const mechanisms);
            let out = (&raw mut handle, null_mut(), null_mut());
            (gss.gss_acquire_cred_from)(
                minor,
                name,
                0,
                mechanisms,
                usage as c_int,
                store,
                out.0,
                out.1,
                out.2,
            )
        })?;
        Ok(Self { library: library.clone(), handle })
    }

    /// The principal whose tickets they are.
    ///
    /// # Errors
    /// What the library says.
    pub fn principal(&self) -> Result<String, String> {
        let mut handle = null_mut();
        // SAFETY: the credential lives, and what is null the library does not write.
        self.library.call(|gss, minor| unsafe {
            (gss.gss_inquire_cred)(minor, self.handle, &raw mut handle, null_mut(), null_mut(), null_mut())
        })?;
        Name { library: self.library.clone(), handle }.text()
    }
}

impl Drop for Credential {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the handle is this credential's alone, and is not used after this.
        unsafe { (self.library.functions.gss_release_cred)(&raw mut minor, &raw mut self.handle) };
    }
}

/// What both sides of an exchange come to share.
#[derive(Debug)]
pub struct SecurityContext {
    credential: Arc<Credential>,
    handle: Handle,
    /// Who the client is.
    peer: Option<Name>,
}

// SAFETY: a context is used by one thread at a time, whichever that is.
unsafe impl Send for SecurityContext {}

impl SecurityContext {
    /// One that is not established yet.
    pub fn new(credential: Arc<Credential>) -> Self {
        Self { credential, handle: null_mut(), peer: None }
    }

    /// Takes a token of who connects; gives what it gets, and says whether the context is established.
    ///
    /// # Errors
    /// What the library says.
    pub fn accept(&mut self, token: &[u8]) -> Result<(Vec<u8>, bool), String> {
        let Self { credential, handle, .. } = self;
        let library = credential.library.clone();
        let (token, mut answer, mut peer) = (given(token), Taken::new(&library), null_mut());
        // SAFETY: every pointer is to a value that lives until the call is over; the library reads `token`, and what is null it
        // does not write. No bindings to a channel are asked for, and no delegated credential is taken.
        let status = library.call(|gss, minor| unsafe {
            let (token, peer, answer) = (&raw const token, &raw mut peer, answer.out());
            let accept = gss.gss_accept_sec_context;
            let not_taken = (null_mut(), null_mut(), null_mut(), null_mut());
            accept(
                minor,
                handle,
                credential.handle,
                token,
                null(),
                peer,
                not_taken.0,
                answer,
                not_taken.1,
                not_taken.2,
                not_taken.3,
            )
        });
        if !peer.is_null() {
            self.peer = Some(Name { library: library.clone(), handle: peer });
        }
        Ok((answer.bytes().to_vec(), status? & CONTINUE_NEEDED == 0))
    }

    /// Takes a token of the server `target`, an empty one to begin; gives what it gets, and says whether the context is
    /// established.
    ///
    /// # Errors
    /// What the library says, also of a KDC that gives no ticket.
    pub fn initiate(&mut self, target: &Name, token: &[u8]) -> Result<(Vec<u8>, bool), String> {
        let Self { credential, handle, .. } = self;
        let library = &credential.library;
        let (token, mut answer, kerberos) = (given(token), Taken::new(library), oid(KERBEROS));
        // SAFETY: as in `accept`; 0 is the default lifetime.
        let status = library.call(|gss, minor| unsafe {
            let (kerberos, token, answer) = (&raw const kerberos, &raw const token, answer.out());
            let initiate = gss.gss_init_sec_context;
            let not_taken = (null_mut(), null_mut(), null_mut());
            initiate(
                minor,
                credential.handle,
                handle,
                target.handle,
                kerberos,
                FLAGS,
                0,
                null(),
                token,
                not_taken.0,
                answer,
                not_taken.1,
                not_taken.2,
            )
        })?;
        Ok((answer.bytes().to_vec(), status & CONTINUE_NEEDED == 0))
    }

    /// The client of an established context.
    ///
    /// # Errors
    /// What the library says.
    pub fn peer(&self) -> Result<String, String> {
        self.peer.as_ref().ok_or("the client has no name")?.text()
    }

    /// Seals a message, which stays readable.
    ///
    /// # Errors
    /// What the library says.
    pub fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, String> {
        let library = &self.credential.library;
        let (message, mut sealed) = (given(message), Taken::new(library));
        // SAFETY: as in `accept`; the library refuses a context that is not established.
        library.call(|gss, minor| unsafe {
            (gss.gss_wrap)(minor, self.handle, 0, 0, &raw const message, null_mut(), sealed.out())
        })?;
        Ok(sealed.bytes().to_vec())
    }

    /// The message of a sealed one.
    ///
    /// # Errors
    /// What the library says.
    pub fn unwrap(&mut self, sealed: &[u8]) -> Result<Vec<u8>, String> {
        let library = &self.credential.library;
        let (sealed, mut message) = (given(sealed), Taken::new(library));
        // SAFETY: as in `wrap`.
        library.call(|gss, minor| unsafe {
            (gss.gss_unwrap)(minor, self.handle, &raw const sealed, message.out(), null_mut(), null_mut())
        })?;
        Ok(message.bytes().to_vec())
    }
}

impl Drop for SecurityContext {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the handle is null or this context's alone, and is not used after this; no token is wanted.
        unsafe {
            (self.credential.library.functions.gss_delete_sec_context)(
                &raw mut minor,
                &raw mut self.handle,
                null_mut(),
            )
        };
    }
}
