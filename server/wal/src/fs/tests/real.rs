//! What only a real volume can show.

use std::{
    fs::Permissions,
    os::unix::{
        self,
        fs::{MetadataExt, PermissionsExt},
    },
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{Mode, XattrFlags},
    io::Errno,
};

use super::{OnDisk, World, content, errno, names, open};
use crate::fs::{Access, Attributes, FileSystem, real::RealFs};

#[test]
fn symlink_out_of_the_data_folder_leads_nowhere() {
    let (world, outside) = (OnDisk::default(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("secret"), b"secret").unwrap();
    world.dir("dir");
    unix::fs::symlink(outside.path(), world.path("dir/out")).unwrap();
    unix::fs::symlink(outside.path().join("secret"), world.path("end")).unwrap();
    for path in ["dir/out/secret", "end"] {
        assert_eq!(errno(open(&world.fs, path)), Errno::LOOP, "{path}");
    }
    assert_eq!(errno(world.fs.remove_file("dir/out/secret")), Errno::LOOP);
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

#[test]
fn data_folder_may_be_reached_over_a_symlink() {
    let (world, elsewhere) = (OnDisk::default(), tempfile::tempdir().unwrap());
    world.put("a", b"abc");
    let link = elsewhere.path().join("link");
    unix::fs::symlink(world.dir.path(), &link).unwrap();
    assert_eq!(content(&RealFs::open(&link).unwrap(), "a").unwrap(), b"abc");
}

#[test]
fn missing_data_folder_is_not_found_and_a_file_is_none() {
    let world = OnDisk::default();
    world.put("file", b"");
    assert_eq!(errno(RealFs::open(&world.path("missing"))), Errno::NOENT);
    assert_eq!(errno(RealFs::open(&world.path("file"))), Errno::NOTDIR);
}

#[test]
fn open_of_a_fifo_does_not_block() {
    let world = OnDisk::default();
    world.fifo("fifo");
    let (told, hears) = mpsc::channel();
    let opener = thread::spawn(move || {
        for access in [Access::Read, Access::ReadWrite] {
            told.send(errno(world.fs.open("fifo", access))).unwrap();
        }
    });
    for _ in 0..2 {
        assert_eq!(hears.recv_timeout(Duration::from_secs(10)), Ok(Errno::INVAL));
    }
    opener.join().unwrap();
}

#[test]
fn socket_is_refused_before_it_is_opened() {
    let world = OnDisk::default();
    let _listener = unix::net::UnixListener::bind(world.path("socket")).unwrap();
    assert_eq!(errno(open(&world.fs, "socket")), Errno::INVAL, "opening it gives ENXIO");
}

#[test]
fn mode_is_exact_whatever_the_umask() {
    let world = OnDisk::default();
    let before = rustix::process::umask(Mode::from_raw_mode(0o077));
    for mode in [0o666, 0o640, 0o604, 0o400] {
        let attributes = Attributes { mode, uid: None, gid: None };
        world.fs.create(&format!("file{mode}"), attributes).unwrap();
        world.fs.create_dir(&format!("dir{mode}"), attributes).unwrap();
        for path in [format!("file{mode}"), format!("dir{mode}")] {
            assert_eq!(std::fs::metadata(world.path(&path)).unwrap().mode() & 0o7777, mode, "{path}");
        }
    }
    rustix::process::umask(before);
}

#[test]
fn owner_is_set_or_nothing_is_created() {
    let world = OnDisk::default();
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    let own = Attributes { mode: 0o600, uid: Some(uid.as_raw()), gid: Some(gid.as_raw()) };
    world.fs.create("own", own).unwrap();
    let other = Attributes { mode: 0o6711, uid: Some(54321), gid: Some(54322) };
    for (path, created) in
        [("file", world.fs.create("file", other).map(drop)), ("dir", world.fs.create_dir("dir", other))]
    {
        if uid.is_root() {
            created.unwrap();
            let found = std::fs::metadata(world.path(path)).unwrap();
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (54321, 54322, 0o6711));
        } else {
            assert_eq!(errno(created), Errno::PERM);
            assert!(!names(&world.fs, "").contains(&path.to_owned()));
        }
    }
}

#[test]
fn lock_excludes_everybody_else_until_it_is_dropped() {
    let world = OnDisk::default();
    let second = RealFs::open(world.dir.path()).unwrap();
    world.fs.lock().unwrap();
    world.fs.lock().unwrap();
    let volume = world.fs.volume_sync().unwrap();
    assert_eq!(second.lock().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let OnDisk { fs, dir } = world;
    drop(fs);
    second.lock().unwrap();
    drop((volume, dir));
}

#[test]
fn probe_proves_file_ids_and_leaves_nothing() {
    let world = OnDisk::default();
    world.dir("dir");
    for dir in ["", "dir"] {
        world.fs.probe_file_ids(dir).unwrap();
        world.put(format!("{dir}/.inkpot-probe").trim_start_matches('/'), b"left by a crash");
        world.fs.probe_file_ids(dir).unwrap();
    }
    assert_eq!((names(&world.fs, ""), names(&world.fs, "dir")), (vec!["dir".to_owned()], vec![]));
    assert_eq!(errno(world.fs.probe_file_ids("missing")), Errno::NOENT);
}

#[test]
fn file_id_of_another_length_is_none() {
    let world = OnDisk::default();
    let file = world.put("a", b"");
    for length in [0, 15, 17, 100] {
        let raw = std::fs::File::open(world.path("a")).unwrap();
        rustix::fs::fsetxattr(&raw, "user.inkpot.id", &vec![1; length], XattrFlags::empty()).unwrap();
        assert_eq!(file.file_id().unwrap(), None, "{length}");
    }
    file.set_file_id(&[2; 16]).unwrap();
    assert_eq!(file.file_id().unwrap(), Some([2; 16]));
}

#[test]
fn names_that_are_not_utf8_are_left_out() {
    use std::os::unix::ffi::OsStrExt;
    let world = OnDisk::default();
    world.put("good", b"");
    std::fs::write(world.dir.path().join(std::ffi::OsStr::from_bytes(b"bad\xff")), b"").unwrap();
    assert_eq!(names(&world.fs, ""), ["good"]);
}

#[test]
fn time_before_the_epoch_is_told() {
    let world = OnDisk::default();
    let file = world.put("a", b"");
    let then = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
    std::fs::File::options().write(true).open(world.path("a")).unwrap().set_modified(then).unwrap();
    assert_eq!(file.metadata().unwrap().modified, then);
}

#[test]
fn unreadable_directory_can_still_be_passed_through() {
    let world = OnDisk::default();
    world.dir("dir");
    world.put("dir/a", b"abc");
    std::fs::set_permissions(world.path("dir"), Permissions::from_mode(0o300)).unwrap();
    world.fs.rename("dir/a", "dir/b", crate::fs::Existing::Keep).unwrap();
    assert_eq!(content(&world.fs, "dir/b").unwrap(), b"abc");
}
