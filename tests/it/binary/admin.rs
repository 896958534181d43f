//! The admin listener on an address that others than the operator can reach.

use grantmint::provider::twilio_live::{DEMO_API_KEY_SECRET, DEMO_RESOURCE};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Configured, Serve, answer, get, soon};

const KEY: &str = "x0y1z2A3B4C5D6E7F8G9h0i1j2k3l4m5";

/// The first 12 hexadecimal digits.
fn digits(hash: impl AsRef<[u8]>) -> String {
    let first = hash.as_ref()[..8].try_into().expect("8 bytes");
    format!("{:016x}", u64::from_be_bytes(first))[..12].to_owned()
}

async fn served(admin: &str, arguments: &[&str]) -> Serve {
    let config = Configured::with_secret(admin, "", DEMO_API_KEY_SECRET);
    let serve = Serve::configured(&config, arguments).await;
    serve.first_token().await;
    serve
}

#[tokio::test]
async fn public_admin_pages_name_no_resource() {
    let plain = digits(Sha256::digest(DEMO_RESOURCE));
    let mut hmac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("a key");
    hmac.update(DEMO_RESOURCE.as_bytes());
    let keyed = digits(hmac.finalize().into_bytes());

    let dir = tempfile::TempDir::new().expect("a directory");
    let key = dir.path().join("key");
    std::fs::write(&key, KEY).expect("written");
    let with_key = format!("[admin]\nnames_key_file = {key:?}\n");
    for (admin, shown, warned) in [("", plain, true), (&*with_key, keyed, false)] {
        let serve = served(admin, &["--admin-listen", "0.0.0.0:0"]).await;
        for path in ["/readyz", "/metrics"] {
            let (status, page) = serve.page(path).await;
            assert_eq!(status, 200);
            assert!(!page.contains(DEMO_RESOURCE), "{page}");
            assert!(page.contains(&shown) && page.contains("demo"), "{shown}: {page}");
        }
        serve.signal("INT");
        assert_eq!(serve.ended().await.1.contains("unkeyed hashes"), warned);
    }
    let serve = served("[admin]\ndetails = true", &["--admin-listen", "0.0.0.0:0"]).await;
    assert!(serve.page("/readyz").await.1.contains(DEMO_RESOURCE));
}

#[tokio::test]
async fn held_connections_do_not_starve_the_probe() {
    let serve = served("", &[]).await;
    let address = serve.admin.strip_prefix("http://").expect("a URL");
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = soon(TcpStream::connect(address)).await.expect("a connection");
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await.expect("sent");
        held.push(stream);
        if held.len() % 20 == 0 {
            assert_eq!(get(&format!("{}/livez", serve.admin)).await.0, 200);
        }
    }
    // The remaining connections have 5 s to send their head.
    for mut stream in held {
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
    }
}

#[tokio::test]
async fn a_request_for_another_host_is_refused() {
    let serve = served("[admin]\nhosts = [\"mint.example\"]", &[]).await;
    let port = serve.admin.rsplit_once(':').expect("a port").1;
    let status = async |host: &str| {
        let address = serve.admin.strip_prefix("http://").expect("a URL");
        let mut stream = soon(TcpStream::connect(address)).await.expect("a connection");
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.expect("an answer");
        answer.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok())
    };
    for host in ["127.0.0.1", "localhost", "mint.example", "Mint.Example", "[::1]"] {
        assert_eq!(status(&format!("{host}:{port}")).await, Some(200), "{host}");
    }
    for host in ["attacker.example", "localhost.attacker.example", ""] {
        assert_eq!(status(&format!("{host}:{port}")).await, Some(421), "{host}");
    }
    let answer = answer("POST", &format!("{}/metrics", serve.admin), &[], "").await;
    assert_eq!(answer.status, 405, "POST must be refused");
}
