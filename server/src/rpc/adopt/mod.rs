//! Adopt: plain files that another program changed or put there are taken as they are now, each as a new generation.
//!
//! A file is read as a whole for its checksum, and its inode is stamped with an id that its shard allotted; then the shard
//! decides. An inode that the server still has as a file of its own is never stamped: that is looked up by the id that it
//! carries, behind everything that its shard was doing when the inode was opened.

pub(super) mod walk;

use super::{
    Services,
    convert::{self, file as checks},
    read::not_found,
};
use crate::{
    apply::{
        plain::{difference, refuse},
        view::{COMPRESSED_SUFFIX, FileView, Location},
    },
    datadir::layout,
    shard::{
        ids::{FileId, FileKey},
        operation::{Action, Prepared},
    },
};
use inkpot_proto::{
    error::Refused,
    path::{FilePath, TenantName},
    v1::{self, ErrorReason},
};
use inkpot_wal::fs::{Access, File, FileSystem, Kind, Metadata, parent};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};
use walk::{Found, walk};

/// A call ends after this long, with a token, so that what it did is told before its deadline.
const PAGE_TIME: Duration = Duration::from_secs(10);
/// Files are read in pieces of this many bytes.
const PIECE_BYTES: usize = 1 << 20;

/// What became of one file.
enum Outcome {
    /// It was taken, with so many bytes.
    Adopted(u64),
    /// It is ours, and as it was left.
    Ours,
    /// It cannot be taken.
    Not(String),
}

impl Services {
    /// Takes plain files as they are.
    pub(super) async fn adopt(
        &self,
        tenant: TenantName,
        request: v1::AdoptRequest,
    ) -> Result<v1::AdoptResponse, Refused> {
        self.refuse_if_draining()?;
        let began = Instant::now();
        let max = checks::page_size_of("max_files", request.max_files)?;
        let after = checks::text_of_token(&request.page_token)?;
        let (found, is_more) = self.find(&tenant, &request, after, max).await?;
        let mut response = v1::AdoptResponse::default();
        let mut last = None;
        let count = found.len();
        for (number, Found { path, problem }) in found.into_iter().enumerate() {
            let outcome = match problem {
                Some(error) => Outcome::Not(format!("the directory cannot be looked into: {error}")),
                None => self.adopt_one(&tenant, &path).await?,
            };
            match outcome {
                Outcome::Adopted(bytes) => {
                    response.adopted += 1;
                    response.adopted_bytes += bytes;
                }
                Outcome::Ours => {}
                Outcome::Not(why) => response.not_adopted.push(v1::NotAdopted { path: path.clone(), why }),
            }
            let is_over = number + 1 == count;
            if (is_over && is_more) || (!is_over && began.elapsed() > PAGE_TIME) {
                last = Some(path);
                break;
            }
        }
        response.next_page_token = last.map_or_else(String::new, |path| checks::token_of_text(&path));
        Ok(response)
    }

    /// What a request is about.
    async fn find(
        &self,
        tenant: &TenantName,
        request: &v1::AdoptRequest,
        after: String,
        max: usize,
    ) -> Result<(Vec<Found>, bool), Refused> {
        let root = format!("{}/{tenant}", layout::FILES);
        let start = if request.path.is_empty() {
            if !request.recursive {
                return Err(convert::invalid("path is empty: set recursive to adopt the whole tree of the tenant"));
            }
            String::new()
        } else {
            let key = FileKey { tenant: tenant.clone(), path: convert::path(&request.path)? };
            let plain = key.plain_path();
            match self.fs_call(move |fs| fs.metadata(&plain)).await {
                Ok(found) if found.kind == Kind::Directory && !request.recursive => {
                    let text = format!("{key} is a directory; set recursive to adopt the files below it");
                    return Err(Refused::new(ErrorReason::IsADirectory, text));
                }
                Ok(found) if found.kind == Kind::Directory => request.path.clone(),
                Ok(_) => return Ok((vec![Found { path: request.path.clone(), problem: None }], false)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_found(&key)),
                Err(error) => return Err(refuse(&error, &key)),
            }
        };
        let walked = self.fs_call(move |fs| Ok(walk(fs, &root, &start, &after, max))).await;
        walked.map_err(|error| Refused::new(ErrorReason::Internal, format!("the tree cannot be looked at: {error}")))
    }

    /// Takes one file, or says why not.
    ///
    /// # Errors
    /// What has nothing to do with the file: the call is to be made again.
    async fn adopt_one(&self, tenant: &TenantName, path: &str) -> Result<Outcome, Refused> {
        let path = match FilePath::parse(path) {
            Ok(path) => path,
            Err(invalid) => return Ok(Outcome::Not(format!("its path is not valid: {invalid}"))),
        };
        let key = FileKey { tenant: tenant.clone(), path };
        let plain = key.plain_path();
        let file = match self.fs_call(move |fs| open(fs, &plain)).await {
            Ok(Ok(file)) => file,
            Ok(Err(why)) => return Ok(Outcome::Not(why)),
            Err(error) => return Ok(Outcome::Not(refuse(&error, &key).message)),
        };
        if let Some(outcome) = self.look_at_owner(&key, &file).await? {
            return Ok(outcome);
        }
        // What the shard was doing when the file was opened is done once this is answered.
        let id = self.shard(&key).allot_id().await?;
        if let Some(outcome) = self.look_at_owner(&key, &file).await? {
            return Ok(outcome);
        }
        let plain = key.plain_path();
        let prepared = match self.fs_call(move |fs| Ok(prepare(fs, &plain, file.as_ref(), id))).await {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(error)) | Err(error) => return Ok(Outcome::Not(format!("it cannot be read or stamped: {error}"))),
        };
        match self.operate(key, None, None, Action::Adopt(prepared)).await {
            Ok(done) => Ok(Outcome::Adopted(done.size)),
            Err(refused) if is_about_file(&refused) => Ok(Outcome::Not(refused.message)),
            Err(refused) => Err(refused),
        }
    }

    /// Whether the inode is a file that a shard has; `None` if it may be taken.
    async fn look_at_owner(&self, key: &FileKey, file: &Arc<dyn File>) -> Result<Option<Outcome>, Refused> {
        let of = Arc::clone(file);
        let untold = |error: io::Error| Ok(Some(Outcome::Not(format!("what it is cannot be told: {error}"))));
        let id = match self.fs_call(move |_| of.file_id()).await {
            Ok(Some(id)) => FileId::from_bytes(id),
            Ok(None) => return Ok(None),
            Err(error) => return untold(error),
        };
        let Some(view) = self.owner_of(key, id).await? else { return Ok(None) };
        let (file, plain) = (Arc::clone(file), key.plain_path());
        self.fs_call(move |fs| judge(fs, &view, file.as_ref(), &plain)).await.or_else(untold)
    }

    /// The file of that id that some path leads to, wherever that is.
    async fn owner_of(&self, key: &FileKey, id: FileId) -> Result<Option<Arc<FileView>>, Refused> {
        let uncompressed = key.path.as_str().strip_suffix(COMPRESSED_SUFFIX);
        let uncompressed = uncompressed.and_then(|path| FilePath::parse(path).ok());
        let uncompressed = uncompressed.map(|path| FileKey { tenant: key.tenant.clone(), path });
        for key in [Some(key), uncompressed.as_ref()].into_iter().flatten() {
            let view = self.shard(key).lookup(key).await?.filter(|view| view.id == id);
            if view.is_some() {
                return Ok(view);
            }
        }
        let is_it = |view: &Arc<FileView>| view.id == id && view.state().gone.is_none();
        if let Some(view) = self.shards.iter().find_map(|shard| shard.registry.views().into_iter().find(is_it)) {
            return Ok(Some(view));
        }
        for shard in self.shards.iter() {
            shard.catalog.begun().await;
            let catalog = Arc::clone(&shard.catalog);
            let reading = self.host.blocking(move || catalog.read(|catalog| catalog.by_id(id)));
            let row = reading.await.map_err(|error| unknown(&error))??.map_err(|error| unknown(&error))?;
            let Some(stored) = row else { continue };
            let view = shard.lookup(&stored.row.key).await?.filter(|view| view.id == id);
            if view.is_some() {
                return Ok(view);
            }
        }
        Ok(None)
    }

    pub(super) async fn fs_call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn FileSystem) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let fs = Arc::clone(&self.fs);
        self.host.blocking(move || call(fs.as_ref())).await.flatten()
    }
}

/// What the inode at a path is to the file that has its id. A file that has another path by now, or is not as it was left,
/// is known as changed from here on, so that nothing is written to it any more.
fn judge(fs: &dyn FileSystem, view: &FileView, file: &dyn File, plain: &str) -> io::Result<Option<Outcome>> {
    let place = view.place().clone();
    let found = file.metadata()?;
    let own = view.path_at(&place);
    let change = if own == plain {
        change_of(view, &found)
    } else if fs.metadata(&own).is_ok_and(|own| own.inode == found.inode) {
        // Its shard has moved it since it was opened.
        None
    } else {
        Some(format!("was moved to {plain}"))
    };
    let Some(change) = change else { return Ok(Some(Outcome::Ours)) };
    view.state().foreign.get_or_insert(change);
    let is_compressed = own == plain && place.location == Location::Compressed;
    Ok(is_compressed.then(|| Outcome::Not(format!("it is what {} is compressed to, and was changed", place.key))))
}

/// How the plain file differs from what was left, if it does. While bytes wait for it, its shard looks.
fn change_of(view: &FileView, found: &Metadata) -> Option<String> {
    let state = view.state();
    if state.foreign.is_some() || !state.pending.is_empty() {
        return state.foreign.clone();
    }
    difference(found, state.compressed.unwrap_or(state.applied), state.seen)
}

/// Opens a file that may be taken, or says why it may not.
fn open(fs: &dyn FileSystem, plain: &str) -> io::Result<Result<Arc<dyn File>, String>> {
    let found = fs.metadata(plain)?;
    if found.kind != Kind::File {
        return Ok(Err("it is a symbolic link, or something else that is no regular file".to_owned()));
    }
    if found.links > 1 {
        return Ok(Err("it has more than one name (hard link)".to_owned()));
    }
    match fs.open(plain, Access::ReadWrite) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Ok(Err(format!("the server may not read and write it: {error}")))
        }
        opened => opened.map(Ok),
    }
}

/// Reads a file, stamps it, and makes all of it durable.
fn prepare(fs: &dyn FileSystem, plain: &str, file: &dyn File, id: FileId) -> io::Result<Prepared> {
    let before = file.metadata()?;
    let crc32c = checksum(file, before.len)?;
    let is_as_before = |found: &Metadata| {
        (found.len, found.modified, found.inode, found.links) == (before.len, before.modified, before.inode, 1)
    };
    let changed = || io::Error::other("it was changed while it was read");
    if !is_as_before(&file.metadata()?) {
        return Err(changed());
    }
    file.set_file_id(&id.to_bytes())?;
    file.sync_all()?;
    let mut dir = parent(plain);
    while !dir.is_empty() {
        fs.sync_dir(dir)?;
        dir = parent(dir);
    }
    if !is_as_before(&fs.metadata(plain)?) {
        return Err(changed());
    }
    Ok(Prepared { id, len: before.len, crc32c, compressed: None, of: 0 })
}

fn checksum(file: &dyn File, len: u64) -> io::Result<u32> {
    let (mut crc32c, mut offset) = (0, 0);
    let mut piece = vec![0; PIECE_BYTES];
    while offset < len {
        let read = file.read_at(&mut piece, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        crc32c = crc32c::crc32c_append(crc32c, &piece[..read]);
        offset += read as u64;
    }
    Ok(crc32c)
}

/// Whether a refusal has its reason in the file or the tenant, so that the other files may still be taken.
fn is_about_file(refused: &Refused) -> bool {
    use ErrorReason as R;
    let passing = [R::ShardClosed, R::Draining, R::OutcomeUnknown, R::Internal, R::Damaged, R::DiskFull];
    !passing.contains(&refused.reason)
}

fn unknown(error: &dyn std::error::Error) -> Refused {
    Refused::new(ErrorReason::ShardClosed, format!("whose files are there cannot be read now: {error}; try again"))
}
