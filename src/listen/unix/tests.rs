//! Sockets and their files.

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
    unix.bind().expect_err("it is bound")
}

#[tokio::test]
async fn a_socket_has_its_mode_and_group_before_anybody_can_connect() {
    let dir = TempDir::new().unwrap();
    let own = fs::metadata(dir.path()).unwrap().gid();
    // Any group will do for root, and only one's own for others.
    let group = if fs::metadata("/proc/self").unwrap().uid() == 0 { 4_242 } else { own };
    let group = Some(Group::parse(&group.to_string()).unwrap());
    for mode in ["0660", "0606", "777"] {
        let unix = Unix { group: group.clone(), ..at(&dir, mode) };
        let bound = unix.bind().unwrap();
        let file = fs::metadata(unix.path.as_path()).unwrap();
        assert_eq!(file.mode() & 0o7777, unix.mode.0, "{mode}");
        assert_eq!(Some(file.gid()), unix.group.as_ref().map(Group::id));
        let early = StdStream::connect(unix.path.as_path()).expect_err("nobody listens yet");
        assert_eq!(early.kind(), io::ErrorKind::ConnectionRefused);
        let listener = bound.listen().unwrap();
        StdStream::connect(unix.path.as_path()).unwrap();
        let (_, uid) = listener.accept().await.unwrap();
        assert_eq!(uid, fs::metadata("/proc/self").unwrap().uid());
    }
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_one_that_is_listened_on_is_not() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    drop(StdListener::bind(unix.path.as_path()).unwrap());
    assert!(unix.path.as_path().exists(), "as a killed server leaves it");
    let _listener = listening(&unix);
    assert!(matches!(refused(&unix), UnixError::Taken));
    StdStream::connect(unix.path.as_path()).expect("the first still listens");
}

#[test]
fn a_socket_whose_queue_is_full_is_listened_on() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    let listener = StdListener::bind(unix.path.as_path()).unwrap();
    listen(&listener, 0).unwrap();
    let _waiting = StdStream::connect(unix.path.as_path()).unwrap();
    assert!(matches!(refused(&unix), UnixError::Taken));
}

#[test]
fn what_is_no_socket_is_never_deleted() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    let path = unix.path.as_path();
    fs::write(path, "precious").unwrap();
    assert!(matches!(refused(&unix), UnixError::NoSocket));
    assert_eq!(fs::read_to_string(path).unwrap(), "precious");
    fs::remove_file(path).unwrap();
    // Nor what a link leads to, nor the link.
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
async fn the_file_is_removed_at_the_end_and_anothers_is_left() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    let path = unix.path.as_path();
    drop(listening(&unix));
    assert!(!path.exists());

    let first = listening(&unix);
    fs::remove_file(path).unwrap();
    let _second = listening(&unix);
    drop(first);
    StdStream::connect(path).expect("the second still has its file");
}

#[tokio::test]
async fn of_two_servers_that_start_at_once_the_first_is_reached_and_the_other_is_refused() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    drop(StdListener::bind(unix.path.as_path()).unwrap());
    let first = unix.bind().unwrap();
    assert!(matches!(refused(&unix), UnixError::Replaced), "the socket looks stale");
    let _first = first.listen().unwrap();
    assert!(matches!(refused(&unix), UnixError::Taken));
    StdStream::connect(unix.path.as_path()).expect("the first is reached");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no lock is left");
}

#[test]
fn a_server_whose_file_was_removed_before_it_listened_does_not_start() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    let bound = unix.bind().unwrap();
    fs::remove_file(unix.path.as_path()).unwrap();
    assert!(matches!(bound.listen(), Err(UnixError::Replaced)));
}

#[test]
fn a_link_in_place_of_the_file_is_not_followed() {
    let dir = TempDir::new().unwrap();
    let unix = at(&dir, "0660");
    let path = unix.path.as_path();
    let victim = dir.path().join("victim");
    fs::write(&victim, "").unwrap();
    fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
    let mode = || fs::metadata(&victim).unwrap().mode() & 0o7777;
    let swap = || {
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink(&victim, path).unwrap();
    };
    // After the file was opened, and before.
    let _listening = StdListener::bind(path).unwrap();
    let file = SocketFile::made_at(path).unwrap();
    swap();
    file.set_mode(0o666).unwrap();
    file.give_to(&Group::parse(&fs::metadata(&victim).unwrap().gid().to_string()).unwrap())
        .unwrap();
    assert_eq!(mode(), 0o600);
    assert!(matches!(SocketFile::made_at(path), Err(UnixError::Replaced)));
}

#[test]
fn a_directory_that_is_missing_is_named() {
    let unix = Unix {
        path: SocketPath::parse("/nowhere/at/all/api.sock").unwrap(),
        mode: SocketMode::default(),
        group: None,
    };
    assert_eq!(refused(&unix).to_string(), "the directory /nowhere/at/all does not exist");
}

#[test]
fn a_path_is_absolute_and_not_too_long() {
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
fn a_mode_is_octal_and_lets_somebody_connect() {
    let shown = |text| SocketMode::parse(text).map(|mode| mode.to_string());
    assert_eq!(shown("0660").as_deref(), Ok("0660"));
    assert_eq!(shown("606").as_deref(), Ok("0606"));
    for text in ["", "0", "66", "0668", "1777", "00660", "0o660", "+66", "rw-rw----", "-660"] {
        assert_eq!(shown(text), Err(ModeError::Form), "{text}");
    }
    for text in ["0000", "0440", "0555"] {
        assert_eq!(shown(text), Err(ModeError::Nobody), "{text}");
    }
    assert!(SocketMode::parse("0602").unwrap().is_open_to_all());
    assert!(!SocketMode::default().is_open_to_all());
}
