//! Tests of sockets and their files.

use std::{
    fs::Permissions,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixStream as StdStream,
    },
};

use tempfile::TempDir;

use super::*;

fn at(dir: &TempDir, mode: &str) -> Unix {
    let path = dir.path().join("api.sock");
    let path = SocketPath::parse(path.to_str().unwrap()).unwrap();
    Unix { path, mode: SocketMode::parse(mode).unwrap(), group: None }
}

fn listening(unix: &Unix) -> Listener {
    unix.bind().unwrap().listen().unwrap()
}

fn refused(unix: &Unix) -> UnixError {
    unix.bind().expect_err("bind fails")
}

#[tokio::test]
async fn mode_and_group_are_set_before_clients_can_connect() {
    let dir = TempDir::new().unwrap();
    let own = fs::metadata(dir.path()).unwrap().gid();
    // Root can use any group, other users only their own.
    let group = if fs::metadata("/proc/self").unwrap().uid() == 0 { 4_242 } else { own };
    let group = Some(Group::parse(&group.to_string()).unwrap());
    for mode in ["0660", "0606", "777"] {
        let unix = Unix { group: group.clone(), ..at(&dir, mode) };
        let bound = unix.bind().unwrap();
        let file = fs::metadata(unix.path.as_path()).unwrap();
        assert_eq!(file.mode() & 0o7777, unix.mode.0, "{mode}");
        assert_eq!(Some(file.gid()), unix.group.as_ref().map(Group::id));
        let early = StdStream::connect(unix.path.as_path()).expect_err("not listening yet");
        assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused);
        let listener = bound.listen().unwrap();
        StdStream::connect(unix.path.as_path()).unwrap();
        let (_, uid) = listener.accept().await.unwrap();
        assert_eq!(uid, fs::metadata("/proc/self").unwrap().uid());
    }
}

#[tokio::test]
async fn only_a_stale_socket_is_replaced() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    drop(StdListener::bind(unix.path.as_path()).unwrap());
    assert!(unix.path.as_path().exists(), "left by a killed server");
    let _listener = listening(&unix);
    assert!(matches!(refused(&unix), UnixError::Taken));
    StdStream::connect(unix.path.as_path()).expect("the first server still listens");
}

#[test]
fn socket_with_a_full_queue_is_not_replaced() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    let listener = StdListener::bind(unix.path.as_path()).unwrap();
    listen(&listener, 0).unwrap();
    let _waiting = StdStream::connect(unix.path.as_path()).unwrap();
    assert!(matches!(refused(&unix), UnixError::Taken));
}

#[test]
fn files_that_are_not_sockets_are_never_deleted() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    let path = unix.path.as_path();
    fs::write(path, "precious").unwrap();
    assert!(matches!(refused(&unix), UnixError::NoSocket));
    assert_eq!(fs::read_to_string(path).unwrap(), "precious");
    fs::remove_file(path).unwrap();
    // Neither a link nor its target is deleted.
    let target = dir.path().join("target");
    drop(StdListener::bind(&target).unwrap());
    std::os::unix::fs::symlink(&target, path).unwrap();
    assert!(matches!(refused(&unix), UnixError::NoSocket));
    assert!(target.exists() && path.is_symlink());
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
    assert!(matches!(refused(&unix), UnixError::NoSocket));
}

#[tokio::test]
async fn only_the_own_socket_file_is_removed() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    let path = unix.path.as_path();
    drop(listening(&unix));
    assert!(!path.exists());

    let first = listening(&unix);
    fs::remove_file(path).unwrap();
    let _second = listening(&unix);
    drop(first);
    StdStream::connect(path).expect("the second server's file still exists");
}

#[tokio::test]
async fn second_of_two_servers_starting_at_once_is_refused() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    drop(StdListener::bind(unix.path.as_path()).unwrap());
    let first = unix.bind().unwrap();
    assert!(matches!(refused(&unix), UnixError::Replaced), "the socket looks stale");
    let _first = first.listen().unwrap();
    assert!(matches!(refused(&unix), UnixError::Taken));
    StdStream::connect(unix.path.as_path()).expect("the first server is reached");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no lock file remains");
}

#[test]
fn start_fails_if_the_socket_file_was_removed() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    let bound = unix.bind().unwrap();
    fs::remove_file(unix.path.as_path()).unwrap();
    assert!(matches!(bound.listen(), Err(UnixError::Replaced)));
}

#[test]
fn link_in_place_of_the_socket_file_is_not_followed() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    let path = unix.path.as_path();
    let target = dir.path().join("target");
    fs::write(&target, "").unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o600)).unwrap();
    let mode = || fs::metadata(&target).unwrap().mode() & 0o7777;
    let swap = || {
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink(&target, path).unwrap();
    };
    // The file is replaced after it was opened, then before.
    let _listening = StdListener::bind(path).unwrap();
    let file = SocketFile::open_at(path).unwrap();
    swap();
    file.set_mode(0o666).unwrap();
    file.set_group(&Group::parse(&fs::metadata(&target).unwrap().gid().to_string()).unwrap())
        .unwrap();
    assert_eq!(mode(), 0o600);
    assert!(matches!(SocketFile::open_at(path), Err(UnixError::Replaced)));
}

#[test]
fn missing_directory_is_named_in_the_error() {
    let unix = Unix {
        path: SocketPath::parse("/nowhere/at/all/api.sock").unwrap(),
        mode: SocketMode::default(),
        group: None,
    };
    assert_eq!(refused(&unix).to_string(), "the directory /nowhere/at/all does not exist");
}

#[test]
fn path_is_absolute_and_not_too_long() {
    let long = |length: usize| format!("/{}", "a".repeat(length - 1));
    assert!(SocketPath::parse(&long(107)).is_ok());
    for (text, error) in [
        (long(108).as_str(), PathError::Long(108)),
        ("api.sock", PathError::Relative),
        ("", PathError::Relative),
        ("@abstract", PathError::Relative),
        ("/run/grantmint/", PathError::Directory),
        ("/a\0b", PathError::Zero),
    ] {
        assert_eq!(SocketPath::parse(text), Err(error), "{text}");
    }
}

#[test]
fn mode_is_octal_and_grants_write_permission() {
    let parsed = |text| SocketMode::parse(text).map(|mode| mode.to_string());
    assert_eq!(parsed("0660").as_deref(), Ok("0660"));
    assert_eq!(parsed("606").as_deref(), Ok("0606"));
    for text in ["", "0", "66", "0668", "1777", "00660", "0o660", "+66", "rw-rw----", "-660"] {
        assert_eq!(parsed(text), Err(ModeError::Form), "{text}");
    }
    for text in ["0000", "0440", "0555"] {
        assert_eq!(parsed(text), Err(ModeError::Nobody), "{text}");
    }
    assert!(SocketMode::parse("0602").unwrap().is_open_to_all());
    assert!(!SocketMode::default().is_open_to_all());
}
