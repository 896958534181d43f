//! The registry of one process: every metric with its name, unit and meaning.

use prometheus_client::{metrics::info::Info, registry::Unit};

use super::{Inner, Sampled};

impl Inner {
    pub(super) fn register_minting(&mut self) {
        self.registry.register(
            "grantmint_tokens",
            "Tokens minted, and calls for tokens that were refused (the request must change) or unserved (no grant would do), by method and outcome",
            self.tokens.clone(),
        );
        self.registry.register_with_unit(
            "grantmint_token_validity",
            "Time within which a token was to be used when it was handed out, by method",
            Unit::Seconds,
            self.validities.clone(),
        );
        self.registry.register(
            "grantmint_waiting_calls",
            "Calls that wait for a grant now",
            self.waiting_calls.clone(),
        );
        self.registry.register(
            "grantmint_signing_queue_depth",
            "Tokens that wait for a thread that makes slow signatures (RSA, ES384)",
            self.signing_waiting.clone(),
        );
        self.registry.register_with_unit(
            "grantmint_signing_queue_delay",
            "Time that a token, or the first of a chunk, waited for such a thread",
            Unit::Seconds,
            self.signing_delays.clone(),
        );
        self.registry.register(
            "grantmint_signing_threads_busy",
            "Threads that make slow signatures now",
            self.signing_busy.clone(),
        );
        let per_request = Sampled::default();
        let (minted, requested) = (self.minted.clone(), self.requested.clone());
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        per_request.read_from(move || Some(minted.get() as f64 / requested.get().max(1) as f64));
        self.registry.register(
            "grantmint_tokens_per_upstream_request",
            "Tokens minted for each request sent to the upstream since the start",
            per_request,
        );
    }

    pub(super) fn register_callers(&mut self) {
        self.registry.register(
            "grantmint_caller_tokens",
            "Tokens minted, by the entry of the caller and method",
            self.caller_tokens.clone(),
        );
        self.registry.register(
            "grantmint_caller_refusals",
            "Calls that are not allowed or over a limit of their caller, by the entry of the caller, reason and mode",
            self.caller_refusals.clone(),
        );
        self.registry.register(
            "grantmint_audit_records",
            "Records of the audit log, by outcome: written, dropped (the queue was full), or refused (nothing was minted, since it could not be recorded)",
            self.audit_records.clone(),
        );
        self.registry.register(
            "grantmint_audit_failing",
            "Whether records of the audit log cannot be written",
            self.audit_failing.clone(),
        );
    }

    /// Named as go-grpc-prometheus names them, which dashboards know.
    pub(super) fn register_calls(&mut self) {
        self.registry.register(
            "grpc_server_started",
            "gRPC calls begun, by method",
            self.calls_started.clone(),
        );
        self.registry.register(
            "grpc_server_handled",
            "gRPC calls ended, by method and code",
            self.calls_handled.clone(),
        );
        self.registry.register_with_unit(
            "grpc_server_handling",
            "Time from a gRPC call's headers to its end, by method",
            Unit::Seconds,
            self.handling.clone(),
        );
        self.registry.register(
            "grantmint_streams_cut",
            "Calls cut before they were answered whole, by cause: stalled (the client closed its window), unread (its connection read too slowly), grace (open when its connection's time was up)",
            self.streams_cut.clone(),
        );
    }

    pub(super) fn register_grants(&mut self) {
        self.registry.register(
            "grantmint_refreshes",
            "Attempts to refresh a grant, by result: ok, a fault's class, held by the account's budget, or panicked",
            self.refreshes.clone(),
        );
        let timestamps = [
            ("fetch", "When the present grant was asked for", &self.fetched),
            ("end", "When the present grant ends", &self.ends),
            (
                "next_attempt",
                "When the next refresh starts, or the present one began",
                &self.next_attempts,
            ),
        ];
        for (what, help, family) in timestamps {
            let name = format!("grantmint_grant_{what}_timestamp");
            self.registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        }
        self.registry.register(
            "grantmint_upstream_requests",
            "Requests sent to the upstream, by profile",
            self.upstream_requests.clone(),
        );
        self.registry.register_with_unit(
            "grantmint_upstream_request_duration",
            "Time that an upstream request took, connecting and failures included, by profile",
            Unit::Seconds,
            self.upstream.clone(),
        );
        self.registry.register_with_unit(
            "grantmint_upstream_clock_skew",
            "How far the upstream's clock is ahead of ours, by the Date of its last answer, by profile",
            Unit::Seconds,
            self.upstream_skews.clone(),
        );
    }

    pub(super) fn register_transport(&mut self) {
        self.registry.register(
            "grantmint_open_connections",
            "Connections of callers that are open now",
            self.connections.clone(),
        );
        self.registry.register(
            "grantmint_handshakes",
            "Connections by how they began: ok, refused (the client is not authenticated), no_http2, failed, timed_out, or displaced by a newer one",
            self.handshakes.clone(),
        );
        self.registry.register(
            "grantmint_authentication_failures",
            "Clients and calls that were not authenticated, by cause",
            self.authentication_failures.clone(),
        );
        self.registry.register_with_unit(
            "grantmint_issuer_keys_fetch_timestamp",
            "When the keys of an issuer of bearer tokens were last fetched, by issuer",
            Unit::Seconds,
            self.issuer_keys_fetched.clone(),
        );
        let timestamps = [
            (
                "start",
                "Since when a certificate or revocation list is valid: what is server, client_ca, crl or trust_domain/NAME",
                &self.certificate_starts,
            ),
            (
                "end",
                "Until when a certificate or revocation list is valid, of several the first to end",
                &self.certificate_ends,
            ),
        ];
        for (what, help, family) in timestamps {
            let name = format!("grantmint_certificate_{what}_timestamp");
            self.registry.register_with_unit(name, help, Unit::Seconds, family.clone());
        }
    }

    pub(super) fn register_process(&mut self) {
        self.registry.register(
            "grantmint_reloads",
            "Changes of the configuration's files that were applied (ok) or not (failed), by part",
            self.reloads.clone(),
        );
        self.registry.register(
            "grantmint_reload_failing",
            "Whether the files of a part hold what cannot be applied: 1, else 0",
            self.reload_failing.clone(),
        );
        self.registry.register(
            "grantmint_drain_phase",
            "How far the way out is: 0 serving, 1 leaving, 2 draining, 3 cut",
            self.drain_phase.clone(),
        );
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        self.registry.register("grantmint_build", "What runs", build);
        self.registry.register_with_unit(
            "process_start_time",
            "When the process started",
            Unit::Seconds,
            self.started.clone(),
        );
    }
}
