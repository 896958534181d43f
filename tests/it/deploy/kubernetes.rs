//! The kustomizations: their resources are valid, and fit the server's configuration.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{root, tool};
use crate::{python::succeeds, support::run, tls::pki::Pki};

/// The resources of a kustomization, which are valid.
async fn resources(kustomization: &str) -> Vec<Value> {
    let mut render = tool("python");
    render.arg(root().join("tests/python/manifests.py")).arg(root().join(kustomization));
    serde_json::from_str(&succeeds(&mut render).await).expect("an array")
}

/// The only resource of this kind.
fn the<'a>(resources: &'a [Value], kind: &str) -> &'a Value {
    match &resources.iter().filter(|it| it["kind"] == kind).collect::<Vec<_>>()[..] {
        [one] => one,
        other => panic!("{} of {kind}", other.len()),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// A kustomization, what its pods run, and their configuration.
struct Rendered {
    resources: Vec<Value>,
    config: toml::Table,
    toml: String,
}

impl Rendered {
    async fn of(kustomization: &str) -> Self {
        let resources = resources(kustomization).await;
        let toml = text(&the(&resources, "ConfigMap")["data"]["grantmint.toml"]).to_owned();
        Self { config: toml.parse().expect("TOML"), toml, resources }
    }

    fn pod(&self) -> &Value {
        &the(&self.resources, "Deployment")["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }

    fn server(&self, key: &str) -> &str {
        self.config["server"][key].as_str().expect(key)
    }

    /// Every absolute path that the configuration names.
    fn paths(&self) -> BTreeSet<&str> {
        let quoted = self.toml.lines().filter(|line| !line.starts_with('#'));
        let quoted = quoted.flat_map(|line| line.split('"').skip(1).step_by(2));
        let bare = quoted.map(|it| it.strip_prefix("unix:").unwrap_or(it));
        bare.filter(|it| it.starts_with('/')).collect()
    }

    /// Runs `grantmint check` on the configuration, with files in place of the mounted ones.
    async fn check(&self) {
        let (pki, dir) = (Pki::new(), TempDir::new().expect("a directory"));
        let files = [
            ("/run/tls/tls.crt", pki.path("server.crt")),
            ("/run/tls/tls.key", pki.path("server.key")),
            ("/run/tls/ca.crt", pki.path("ca.pem")),
            ("/run/secrets/twilio/sid", dir.path().join("sid")),
            ("/run/secrets/twilio/secret", dir.path().join("secret")),
        ];
        for (_, file) in &files[3..] {
            fs::write(file, "SK0123456789abcdef0123456789abcdef").expect("written");
        }
        for (_, file) in &files {
            fs::set_permissions(file, Permissions::from_mode(0o600)).expect("ours");
        }
        let local = files.iter().fold(self.toml.clone(), |text, (mounted, file)| {
            text.replace(mounted, file.to_str().expect("text"))
        });
        let file = dir.path().join("grantmint.toml");
        fs::write(&file, local).expect("written");
        let checked = run(&["check", file.to_str().expect("text")]).await;
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
        assert!(checked.stdout.contains("no warnings"), "{}", checked.stdout);
    }
}

/// Asserts what both kustomizations have in common.
async fn fits_the_server(rendered: &Rendered) {
    rendered.check().await;
    let (pod, container) = (rendered.pod(), rendered.container());

    let drain: Duration = ["drain_delay", "drain_grace"]
        .map(|key| humantime::parse_duration(rendered.server(key)).expect("a duration"))
        .iter()
        .sum();
    let allowed = pod["terminationGracePeriodSeconds"].as_u64().expect("seconds");
    assert!(container["lifecycle"].is_null(), "a preStop hook takes time too");
    assert!(allowed > drain.as_secs(), "{allowed} s for {drain:?}");

    let admin = rendered.config["admin"]["listen"].as_str().expect("an address");
    let ports = json!([
        {"name": "grpc", "containerPort": port(rendered.server("listen"))},
        {"name": "admin", "containerPort": port(admin)},
    ]);
    assert_eq!(container["ports"], ports);
    let service = &the(&rendered.resources, "Service")["spec"];
    assert_eq!(service["clusterIP"], "None", "clients balance over the pods themselves");
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "admin"}));
    }

    let image = format!("/grantmint:{}", env!("CARGO_PKG_VERSION"));
    assert!(text(&container["image"]).ends_with(&image), "{}", container["image"]);
    let arguments: Vec<_> = list(&container["args"]).iter().map(text).collect();
    assert_eq!(arguments, ["serve", "--config", "/etc/grantmint/grantmint.toml"]);

    let mounts = list(&container["volumeMounts"]);
    for path in rendered.paths() {
        let mount = mounts.iter().find(|it| path.starts_with(text(&it["mountPath"])));
        let mount = mount.unwrap_or_else(|| panic!("{path} is not mounted"));
        assert!(mount["subPath"].is_null(), "Kubernetes does not update {path}");
        assert_eq!(mount["readOnly"], true, "{path}");
    }
    for volume in list(&pod["volumes"]) {
        let files = volume.get("secret").or_else(|| volume.get("configMap"));
        assert!(files.is_none_or(|it| it["defaultMode"] == 0o440), "{volume}");
    }
}

fn port(address: &str) -> u16 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
}

#[tokio::test]
async fn kustomizations_are_valid_and_fit_the_server() {
    let cert_manager = Rendered::of("deploy/kubernetes").await;
    fits_the_server(&cert_manager).await;
    let certificate = &the(&cert_manager.resources, "Certificate")["spec"];
    let volumes = cert_manager.pod()["volumes"].to_string();
    let secret = format!("\"secretName\":{}", certificate["secretName"]);
    assert!(volumes.contains(&secret), "{secret} in {volumes}");

    let spire = Rendered::of("deploy/kubernetes/spire").await;
    fits_the_server(&spire).await;
    let volumes = spire.pod()["volumes"].to_string();
    assert!(volumes.contains("csi.spiffe.io"), "{volumes}");
    assert!(!spire.resources.iter().any(|it| it["kind"] == "Certificate"));
}

#[tokio::test]
async fn selectors_select_the_pods_and_nothing_is_privileged() {
    let rendered = Rendered::of("deploy/kubernetes").await;
    let labels = &the(&rendered.resources, "Deployment")["spec"]["template"]["metadata"]["labels"];
    let own = json!({"app.kubernetes.io/name": "grantmint"});
    assert_eq!(*labels, own);
    let of = |kind: &str, path: &str| the(&rendered.resources, kind)["spec"].pointer(path);
    for (kind, path) in [
        ("Deployment", "/selector/matchLabels"),
        ("Service", "/selector"),
        ("PodDisruptionBudget", "/selector/matchLabels"),
        ("ServiceMonitor", "/selector/matchLabels"),
        ("NetworkPolicy", "/podSelector/matchLabels"),
    ] {
        assert_eq!(of(kind, path), Some(&own), "{kind}");
    }
    let spread = list(&rendered.pod()["topologySpreadConstraints"]);
    assert!(spread.len() == 2 && spread.iter().all(|it| it["labelSelector"]["matchLabels"] == own));
    let callers = of("NetworkPolicy", "/ingress/0/from/0/podSelector/matchLabels");
    assert_eq!(callers, Some(&json!({"grantmint-caller": "true"})));
    let dns = of("NetworkPolicy", "/egress/0/to/0/podSelector/matchLabels");
    assert_eq!(dns, Some(&json!({"k8s-app": "kube-dns"})));

    assert_eq!(
        rendered.container()["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        })
    );
    let pod = &rendered.pod()["securityContext"];
    assert_eq!((&pod["runAsNonRoot"], &pod["runAsUser"]), (&json!(true), &json!(65_532)));
    assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(rendered.pod()["automountServiceAccountToken"], false);
}
