//! The file of the contexts: `current = "NAME"` and a table `contexts.NAME` each. The tool rewrites it whole, so that
//! a reader never sees half of it. It holds the path of a token, never a token.

use crate::cli::{
    failure::{Exit, Failure},
    tls::Tls,
    variable,
};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{
    collections::BTreeMap,
    env, fmt,
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    str::FromStr,
};

const FILE_VARIABLE: &str = "INKPOT_CONTEXT_FILE";
const FILE_BELOW_CONFIG: &str = "inkpot/config.toml";
const HEADER: &str = "# Written by `inkpot context`, which keeps no comments.\n";
const MAX_NAME_BYTES: usize = 64;

/// Name of a context: lower case letters, digits, `.`, `_` and `-`, the first a letter or digit; at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins_well = name.bytes().next().is_some_and(plain);
        let all_allowed = name.bytes().all(|byte| plain(byte) || b"._-".contains(&byte));
        if begins_well && all_allowed && name.len() <= MAX_NAME_BYTES {
            return Ok(Self(name.to_owned()));
        }
        Err(format!("the name {name:?} is not 1 to {MAX_NAME_BYTES} of a-z 0-9 . _ -, the first of a-z 0-9"))
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A server, and how it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) endpoint: String,
    /// Absolute: what a relative one means would depend on where the tool is started.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "absolute_path")]
    pub(crate) token_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Tls::is_unset")]
    pub(crate) tls: Tls,
}

pub(crate) fn absolute_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if path.is_absolute() { Ok(Some(path)) } else { Err(de::Error::custom("this must be an absolute path")) }
}

/// All contexts of the user.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<Name>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<Name, Context>,
}

impl Contexts {
    /// Those in the file of the user; none if there is no file.
    pub(crate) fn load() -> Result<Self, Failure> {
        path().map_or_else(|| Ok(Self::default()), |path| Self::read(&path))
    }

    /// Changes them, while no other run of the tool does.
    pub(crate) fn change<T>(change: impl FnOnce(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        let Some(path) = path() else {
            return Err(Failure::new(Exit::Usage, format!("no place for contexts: set {FILE_VARIABLE}")));
        };
        let failed = |error: io::Error| Failure::error(format_args!("cannot write {}", path.display()), error);
        // A link to the file stays one.
        let path = replaceable(&path)?.map_or_else(|| std::path::absolute(&path), Ok).map_err(failed)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        // Held until this returns.
        let lock = File::open(folder).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut contexts = Self::read(&path)?;
        let changed = change(&mut contexts)?;
        contexts.write(&path, folder).map_err(failed)?;
        Ok(changed)
    }

    /// The context of this name.
    pub(crate) fn get(&self, name: &Name) -> Result<&Context, Failure> {
        let unknown = || format!("there is no context {name}; `inkpot context ls` lists those there are");
        self.contexts.get(name).ok_or_else(|| Failure::new(Exit::Usage, unknown()))
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|why| Failure::new(Exit::Usage, format!("{shown}, {why}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::new(Exit::Usage, format!("cannot read {shown}: {error}"))),
        }
    }

    /// Faults are told with their line and key. The text of the line is not shown: somebody may have put a token there.
    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            format!("line {}: {}", before.matches('\n').count() + 1, error.message())
        })
    }

    fn write(&self, path: &Path, folder: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        // Only its owner may read a temporary file, and thus what it becomes.
        let mut file = tempfile::Builder::new().prefix(".inkpot-").tempfile_in(folder)?;
        file.write_all(HEADER.as_bytes())?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }
}

/// The file behind the path, links resolved; nothing if there is none yet.
///
/// # Errors
/// There is something that must not be replaced by a file.
fn replaceable(path: &Path) -> Result<Option<PathBuf>, Failure> {
    let refused = |why: &dyn fmt::Display| Failure::new(Exit::Usage, format!("cannot write {}: {why}", path.display()));
    let found = fs::canonicalize(path).and_then(|file| Ok((fs::metadata(&file)?.is_file(), file)));
    match found {
        Ok((true, file)) => Ok(Some(file)),
        Ok((false, _)) => Err(refused(&"it is not a regular file")),
        Err(error) if path.is_symlink() => match error.kind() {
            io::ErrorKind::NotFound => Err(refused(&"it is a link to nothing")),
            _ => Err(refused(&error)),
        },
        // What else there is in the way shows when the folder is made.
        Err(_) => Ok(None),
    }
}

/// Where the contexts are kept; nothing if the environment gives no place.
pub(crate) fn path() -> Option<PathBuf> {
    // The XDG specification has relative paths ignored.
    let xdg = || variable::path("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    // One that may not be entered is none: in a container it is often that of another user.
    let home = || env::home_dir().filter(|home| home.join(".").try_exists().is_ok());
    let config = || xdg().or_else(|| Some(home()?.join(".config")));
    variable::path(FILE_VARIABLE).or_else(|| Some(config()?.join(FILE_BELOW_CONFIG)))
}

#[cfg(test)]
mod tests;
