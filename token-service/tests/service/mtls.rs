//! Gateways that come in over a network prove who they are with a certificate (RFC 8705).

use std::{collections::BTreeSet, path::Path};

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use reqwest::{Certificate, Client, Identity, StatusCode};
use sha2::{Digest as _, Sha256};
use writ_token_service::{
    config::{GatewayListen, TlsFiles},
    registry::{Gateway, GatewayKind, GatewayProof, Id, Status},
    store::registrations::Registered,
};

use crate::follower::path;
use crate::harness::{Form, Service, call, refusal};

const NAME: &str = "spiffe://corp.test/gateway/far";

/// An authority, and what it signs.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

pub struct Signed {
    pub pem: String,
    pub key: String,
    sha256: [u8; 32],
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    pub fn sign(&self, names: &[&str]) -> Signed {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) if name.contains(':') => SanType::URI((*name).try_into().unwrap()),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed {
            pem: certificate.pem(),
            key: key.serialize_pem(),
            sha256: Sha256::digest(certificate.der()).into(),
        }
    }
}

pub fn write(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A service with TLS for gateways, which the authority has signed.
async fn service(authority: &Authority) -> Service {
    let own = authority.sign(&["127.0.0.1"]);
    Service::start_with(|config| {
        let dir = config.data_dir.parent().unwrap();
        let files = TlsFiles {
            certificate: write(dir, "cert.pem", &own.pem),
            key: write(dir, "key.pem", &own.key),
            client_authorities: write(dir, "ca.pem", &authority.pem),
        };
        config.gateway = GatewayListen::Tls("127.0.0.1:0".parse().unwrap(), files);
    })
    .await
}

async fn register(service: &Service, id: &str, proof: GatewayProof) {
    let gateway = Gateway {
        id: Id::parse(id).unwrap(),
        kind: GatewayKind::Gateway,
        proof,
        servers: BTreeSet::from(["ledger".to_owned()]),
        status: Status::Approved,
    };
    service
        .store()
        .add_gateway(&gateway, Timestamp::now())
        .await
        .unwrap();
}

fn client(authority: &Authority, own: Option<&Signed>) -> Client {
    let trusted = Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    let mut client = Client::builder().tls_certs_only([trusted]);
    if let Some(own) = own {
        let pem = format!("{}{}", own.pem, own.key);
        client = client.identity(Identity::from_pem(pem.as_bytes()).unwrap());
    }
    client.build().unwrap()
}

fn url(service: &Service, path: &str) -> String {
    let GatewayListen::Tls(address, _) = &service.running.gateway else {
        panic!("no TLS")
    };
    format!("https://{address}{path}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_mints_with_its_certificate_and_without_a_secret() {
    let authority = Authority::new();
    let service = service(&authority).await;
    let (named, pinned) = (authority.sign(&[NAME]), authority.sign(&["far.corp.test"]));
    register(
        &service,
        "named",
        GatewayProof::CertificateName(NAME.into()),
    )
    .await;
    register(&service, "pinned", GatewayProof::Certificate(pinned.sha256)).await;
    let form = Form::new(&service.caller_token(), &call("echo"));
    for (id, own) in [("named", &named), ("pinned", &pinned)] {
        let client = client(&authority, Some(own));
        let response = client
            .post(url(&service, "/oauth/token"))
            .form(&form.0)
            .send()
            .await
            .unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        assert_eq!(response.status(), StatusCode::OK);
        let records = service.records().await;
        assert_eq!(records.last().unwrap().gateway.as_deref(), Some(id));
        let snapshot = client.get(url(&service, &path("any"))).send();
        assert_eq!(snapshot.await.unwrap().status(), StatusCode::OK);
    }
    service
        .store()
        .set_status(
            Registered::Gateway,
            "named",
            Status::Disabled,
            None,
            Timestamp::now(),
        )
        .await
        .unwrap();
    let response = client(&authority, Some(&named))
        .post(url(&service, "/oauth/token"))
        .form(&form.0)
        .send()
        .await
        .unwrap();
    assert_eq!(refusal(response).await, (401, "invalid_client".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_nobody_registered_and_a_secret_prove_nothing_there() {
    let authority = Authority::new();
    let service = service(&authority).await;
    register(
        &service,
        "named",
        GatewayProof::CertificateName(NAME.into()),
    )
    .await;
    let form = Form::new(&service.caller_token(), &call("echo"));
    // Signed by the same authority, with another name; and the secret of a gateway on the machine.
    let stranger = client(
        &authority,
        Some(&authority.sign(&["spiffe://corp.test/gateway"])),
    );
    let response = stranger
        .post(url(&service, "/oauth/token"))
        .basic_auth("edge", Some(&service.gateway_secret))
        .form(&form.0)
        .send()
        .await
        .unwrap();
    assert_eq!(refusal(response).await, (401, "invalid_client".into()));
    let snapshot = stranger
        .get(url(&service, &path("any")))
        .basic_auth("edge", Some(&service.gateway_secret))
        .send()
        .await
        .unwrap();
    assert_eq!(snapshot.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_of_a_trusted_authority_there_is_no_connection() {
    let authority = Authority::new();
    let service = service(&authority).await;
    register(
        &service,
        "named",
        GatewayProof::CertificateName(NAME.into()),
    )
    .await;
    let forged = Authority::new().sign(&[NAME]);
    for own in [None, Some(&forged)] {
        let request = client(&authority, own).get(url(&service, &path("any")));
        assert!(request.send().await.is_err());
    }
    let plain = Client::new().get(url(&service, &path("any")).replace("https", "http"));
    assert!(plain.send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_read_again_and_wrong_ones_change_nothing() {
    let (authority, next) = (Authority::new(), Authority::new());
    let service = service(&authority).await;
    register(
        &service,
        "named",
        GatewayProof::CertificateName(NAME.into()),
    )
    .await;
    let GatewayListen::Tls(_, files) = &service.running.gateway else {
        panic!("no TLS")
    };
    std::fs::write(&files.client_authorities, "nothing").unwrap();
    let problem = service
        .running
        .reload_certificates()
        .unwrap_err()
        .to_string();
    assert!(problem.contains("gateway.tls.client_ca_file"), "{problem}");
    let ask = |own: Signed| {
        let client = client(&authority, Some(&own));
        client.get(url(&service, &path("any"))).send()
    };
    assert!(ask(authority.sign(&[NAME])).await.is_ok());
    std::fs::write(&files.client_authorities, &next.pem).unwrap();
    service.running.reload_certificates().unwrap();
    assert!(ask(authority.sign(&[NAME])).await.is_err());
    assert_eq!(
        ask(next.sign(&[NAME])).await.unwrap().status(),
        StatusCode::OK
    );
}
