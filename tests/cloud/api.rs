//! What is asked of a cloud's API and how, without hosts: through a proxy, over TLS,
//! with credentials of every kind.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use forwarder::config::Prefix;
use forwarder::config::model::{Cloud, ElasticIp, Movable, MovingInterface, Route, Url, Which};
use forwarder::core::cloud::work::Outcome;
use forwarder::core::cloud::{Call, plan};
use forwarder::io::cloud::api::{Api as _, Aws};
use forwarder::io::cloud::environment::Environment;
use forwarder_lab::certificate::Certificate;

use super::server::{Handler, Request, Server};

const MAC: &str = "02:00:00:00:00:01";
const REGION: &str = "eu-central-1";
const INSTANCE: &str = "i-1";
const EMPTY: &str = "<R><networkInterfaceSet/></R>";

pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(test);
}

pub fn at(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn prefix(text: &str, length: u8) -> Prefix {
    Prefix::of(at(text), length).expect("a prefix")
}

fn url(text: &str) -> Option<Url> {
    Some(Url::parse(text).expect("a URL"))
}

pub fn cloud(endpoint: &str) -> Cloud {
    Cloud {
        region: Some(REGION.to_owned()),
        endpoint: url(endpoint),
        proxy: None,
        ca_file: None,
        refresh: std::time::Duration::from_secs(10),
        journal: None,
        journal_bucket: None,
        instance_type: None,
        limits_file: None,
        addresses: Vec::new(),
        prefixes: Vec::new(),
        elastic_ips: Vec::new(),
        routes: Vec::new(),
        interfaces: Vec::new(),
    }
}

pub fn movable<T>(what: T) -> Movable<T> {
    Movable {
        what,
        interface: "outside".to_owned(),
        group: "default".to_owned(),
    }
}

pub async fn aws(cloud: Cloud, variables: &[(&str, &str)]) -> Aws {
    let macs = BTreeMap::from([("outside".to_owned(), MAC.to_owned())]);
    let environment = Environment::of(variables.iter().copied());
    Aws::new(cloud, macs, environment).await.expect("a client")
}

/// The metadata service: one network interface, one role.
pub fn metadata(eni: &str, vpc: &str, expiration: &str) -> Handler {
    let macs = format!("get /latest/meta-data/network/interfaces/macs/{MAC}/");
    let roles = "get /latest/meta-data/iam/security-credentials/";
    let answers = BTreeMap::from([
        ("put /latest/api/token".to_owned(), "token".to_owned()),
        (
            "get /latest/meta-data/instance-id".to_owned(),
            INSTANCE.to_owned(),
        ),
        (format!("{macs}interface-id"), eni.to_owned()),
        (format!("{macs}vpc-id"), vpc.to_owned()),
        (roles.to_owned(), "role".to_owned()),
        (
            format!("{roles}role"),
            format!(
                "{{\"Code\":\"Success\",\"AccessKeyId\":\"key-of-role\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"{expiration}\"}}"
            ),
        ),
    ]);
    Arc::new(move |request| {
        let found = answers.get(&request.line);
        Some(found.map_or((404, String::new()), |text| (200, text.clone())))
    })
}

/// Who signed a request, as its header says.
fn signer(request: &Request) -> String {
    let (_, rest) = request.head.split_once("credential=").unwrap_or_default();
    rest.split_once(',')
        .map_or("", |(scope, _)| scope)
        .to_owned()
}

#[test]
fn through_a_proxy_over_tls_with_an_authority_of_ones_own() {
    run(async {
        let name = "ec2.eu-central-1.example";
        let certificate = Certificate::new(name, 49).expect("a certificate");
        let directory = tempdir("tls");
        let authorities = directory.join("ca.pem");
        fs::write(&authorities, certificate.pem()).expect("a file");
        let handler: Handler = Arc::new(|_| Some((200, "<R><return>true</return></R>".to_owned())));
        let server = Server::start(Some(&certificate), handler).await;
        let proxy = Server::proxy(server.address, 200).await;
        let keys = [
            ("AWS_ACCESS_KEY_ID", "AKIA1"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ];
        let call = Call::ReplaceRoute {
            table: "rtb-1".to_owned(),
            destination: prefix("0.0.0.0", 0),
            to: "eni-1".to_owned(),
        };
        let mut behind = cloud(&format!("https://{name}"));
        behind.proxy = url(&format!("http://{}", proxy.address));
        behind.ca_file = Some(authorities);
        assert_eq!(
            aws(behind.clone(), &keys).await.call(&call).await,
            Outcome::Done
        );
        // The proxy is told the name, which nobody here can resolve, and sees nothing else.
        assert_eq!(proxy.seen()[0].line, format!("connect {name}:443"));
        let seen = server.seen();
        assert_eq!(
            signer(&seen[0]),
            "akia1/".to_owned() + &date(&seen[0]) + "/eu-central-1/ec2/aws4_request"
        );
        assert!(
            seen[0].head.contains(&format!("host: {name}\r\n")),
            "{seen:?}"
        );

        // Somebody else's certificate, and a proxy that does not like us.
        let other = Certificate::new("ec2.elsewhere.example", 49).expect("a certificate");
        fs::write(directory.join("other.pem"), other.pem()).expect("a file");
        behind.ca_file = Some(directory.join("other.pem"));
        let Outcome::Again(why) = aws(behind.clone(), &keys).await.call(&call).await else {
            panic!("it was taken");
        };
        assert!(why.contains("certificate"), "{why}");
        let grim = Server::proxy(server.address, 407).await;
        behind.proxy = url(&format!("http://{}", grim.address));
        let Outcome::Again(why) = aws(behind, &keys).await.call(&call).await else {
            panic!("it was taken");
        };
        assert!(why.contains("the proxy says \"HTTP/1.1 407"), "{why}");
        assert_eq!(server.seen().len(), 1);
        fs::remove_dir_all(directory).expect("it is removed");
    });
}

fn date(request: &Request) -> String {
    let (_, rest) = request.head.split_once("x-amz-date: ").expect("a date");
    rest[..8].to_owned()
}

fn tempdir(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("fwd-cloud-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).expect("a directory");
    path
}

#[test]
fn credentials_of_every_kind_in_their_order() {
    run(async {
        let handler: Handler = Arc::new(|request: &Request| {
            let body = match request.body.contains("AssumeRoleWithWebIdentity") {
                true => {
                    "<A><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>key-of-web</AccessKeyId>\
                         <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                         <Expiration>2049-12-31T23:59:59Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></A>"
                }
                false => EMPTY,
            };
            Some((200, body.to_owned()))
        });
        let server = Server::start(None, handler).await;
        let endpoint = format!("http://{}", server.address);
        let directory = tempdir("credentials");
        let (token, profiles) = (directory.join("token"), directory.join("credentials"));
        fs::write(&token, "a.web.token\n").expect("a file");
        let text = "[default]\naws_access_key_id=key-of-default\naws_secret_access_key=s\n\
                    [ops]\naws_access_key_id=key-of-ops\naws_secret_access_key=s\n";
        fs::write(&profiles, text).expect("a file");
        // Expired, so that they are asked for each time.
        let imds = Server::start(None, metadata("eni-1", "vpc-1", "2020-01-01T00:00:00Z")).await;
        let imds_url = format!("http://{}", imds.address);
        let (token, profiles) = (token.display().to_string(), profiles.display().to_string());
        let role = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds_url.as_str());
        let default = ("AWS_SHARED_CREDENTIALS_FILE", profiles.as_str());
        let ops = ("AWS_PROFILE", "ops");
        let web = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str()),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/lb"),
            ("AWS_ENDPOINT_URL_STS", endpoint.as_str()),
        ];
        let keys = [
            ("AWS_ACCESS_KEY_ID", "key-of-environment"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
        ];
        let call = Call::ReplaceRoute {
            table: "rtb-1".to_owned(),
            destination: prefix("0.0.0.0", 0),
            to: "eni-1".to_owned(),
        };
        let base = vec![role];
        for (variables, key) in [
            (base.clone(), "key-of-role"),
            ([base.clone(), vec![default]].concat(), "key-of-default"),
            ([base.clone(), vec![default, ops]].concat(), "key-of-ops"),
            (
                [base.clone(), vec![default], web.to_vec()].concat(),
                "key-of-web",
            ),
            (
                [base, vec![default], web.to_vec(), keys.to_vec()].concat(),
                "key-of-environment",
            ),
        ] {
            let api = aws(cloud(&endpoint), &variables).await;
            for _ in 0..2 {
                assert_eq!(api.call(&call).await, Outcome::Done);
                let seen = server.seen();
                let last = seen.last().expect("a request");
                assert!(
                    signer(last).starts_with(&format!("{key}/")),
                    "{key}: {last:?}"
                );
            }
        }
        let web: Vec<_> = server
            .seen()
            .into_iter()
            .filter(|each| each.body.contains("WebIdentity"))
            .collect();
        assert_eq!(web.len(), 1, "they are kept while they are good");
        assert!(
            web[0].body.contains("WebIdentityToken=a.web.token")
                && !web[0].head.contains("authorization")
        );
        let role = imds
            .seen()
            .into_iter()
            .filter(|each| each.line.ends_with("/role"))
            .count();
        assert_eq!(role, 2, "what has expired is asked for again");
        fs::remove_dir_all(directory).expect("it is removed");
    });
}

#[test]
fn a_metadata_service_that_does_not_answer_is_told() {
    run(async {
        let off: Handler = Arc::new(|_| Some((403, String::new())));
        let silent: Handler = Arc::new(|_| None);
        for (handler, says) in [(off, "is switched off"), (silent, "hop limit")] {
            let imds = Server::start(None, handler).await;
            let imds = format!("http://{}", imds.address);
            let environment =
                Environment::of([("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.as_str())]);
            let mut anywhere = cloud("http://127.0.0.1:1");
            anywhere.region = None;
            let error = Aws::new(anywhere, BTreeMap::new(), environment).await.err();
            let error = error.expect("nobody knows the region");
            assert!(error.contains(says), "{error}");
        }
    });
}

/// What a tag finds has to be one thing; what is not there at all is told, and the rest is known all the same.
#[test]
fn two_with_one_tag_and_none_at_all() {
    run(async {
        let item = |id: &str| {
            format!(
                "<item><publicIp>198.51.100.1</publicIp><allocationId>{id}</allocationId></item>"
            )
        };
        let both = item("eipalloc-1") + &item("eipalloc-2");
        let handler: Handler = Arc::new(move |request: &Request| {
            let addresses = request.body.contains("DescribeAddresses");
            let body = match addresses && request.body.contains("tag%3Ause") {
                true => format!("<R><addressesSet>{both}</addressesSet></R>"),
                false => "<R/>".to_owned(),
            };
            Some((200, body))
        });
        let server = Server::start(None, handler).await;
        let imds = Server::start(None, metadata("eni-1", "vpc-1", "2049-12-31T23:59:59Z")).await;
        let imds = format!("http://{}", imds.address);
        let elastic = |which: Which, private: &str| ElasticIp {
            which,
            interface: "outside".to_owned(),
            private: at(private),
            peer: at(private),
            group: "default".to_owned(),
        };
        let mut cloud = cloud(&format!("http://{}", server.address));
        cloud.addresses = vec![movable(at("10.0.1.10"))];
        cloud.elastic_ips = vec![
            elastic(Which::Tag("use".to_owned(), "web".to_owned()), "10.0.1.10"),
            elastic(Which::Id("eipalloc-9".to_owned()), "10.0.1.11"),
        ];
        cloud.routes = vec![Route {
            table: Which::Tag("use".to_owned(), "none".to_owned()),
            destination: prefix("0.0.0.0", 0),
            interface: "inside".to_owned(),
            group: "default".to_owned(),
        }];
        let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.as_str())];
        let found = aws(cloud.clone(), &variables)
            .await
            .look()
            .await
            .expect("answers");
        let planned = plan(&cloud, "default", &found.known);
        assert_eq!(
            planned.missing,
            [
                "the Elastic IP address eipalloc-9",
                "the Elastic IP address tag use=web alone: several have it",
                "the network interface of \"inside\"",
                "the route table tag use=none",
            ]
        );
        let calls: Vec<_> = planned.calls.iter().map(ToString::to_string).collect();
        assert_eq!(calls, ["AssignPrivateIpAddresses 10.0.1.10 → eni-1"]);
    });
}

/// A carrier IP address is asked for as a public one, and answered under a name of its own.
#[test]
fn a_carrier_ip_address_is_known_by_itself() {
    run(async {
        let handler: Handler = Arc::new(|request: &Request| {
            let asked = ["Action=DescribeAddresses", "public-ip", "155.146.0.7"];
            let body = match asked.iter().all(|part| request.body.contains(part)) {
                true => {
                    "<R><addressesSet><item><carrierIp>155.146.0.7</carrierIp><allocationId>eipalloc-1</allocationId>\
                     <networkBorderGroup>us-east-1-wl1-bos-wlz-1</networkBorderGroup><networkInterfaceId>eni-9</networkInterfaceId>\
                     <privateIpAddress>10.0.8.9</privateIpAddress></item></addressesSet></R>"
                }
                false => EMPTY,
            };
            Some((200, body.to_owned()))
        });
        let server = Server::start(None, handler).await;
        let imds = Server::start(None, metadata("eni-1", "vpc-1", "2049-12-31T23:59:59Z")).await;
        let imds = format!("http://{}", imds.address);
        let mut cloud = cloud(&format!("http://{}", server.address));
        cloud.elastic_ips = vec![ElasticIp {
            which: Which::Public(at("155.146.0.7")),
            interface: "outside".to_owned(),
            private: at("10.0.8.10"),
            peer: at("10.0.8.9"),
            group: "default".to_owned(),
        }];
        let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.as_str())];
        let api = aws(cloud.clone(), &variables).await;
        let found = api.look().await.expect("answers");
        let planned = plan(&cloud, "default", &found.known);
        assert_eq!(planned.missing, [""; 0]);
        let calls: Vec<_> = planned.calls.iter().map(ToString::to_string).collect();
        assert_eq!(calls, ["AssociateAddress eipalloc-1 at 10.0.8.10 → eni-1"]);
        let there = ("eni-9".to_owned(), at("10.0.8.9"));
        assert_eq!(found.holdings.elastic["eipalloc-1"], there);
    });
}

/// What an attachment is called, and which refusals are none.
#[test]
fn attachments_are_known_and_taken() {
    run(async {
        let there = "<R><networkInterfaceSet><item><networkInterfaceId>eni-9</networkInterfaceId><attachment>\
                     <attachmentId>eni-attach-7</attachmentId><instanceId>i-0</instanceId><status>attached</status>\
                     </attachment></item></networkInterfaceSet></R>";
        let handler: Handler = Arc::new(|request: &Request| {
            let says = |action: &str| request.body.contains(action);
            let refused = |code| {
                let error = format!("<Code>{code}</Code><Message>m</Message>");
                Some((
                    400,
                    format!("<R><Errors><Error>{error}</Error></Errors></R>"),
                ))
            };
            if says("Action=AttachNetworkInterface") {
                refused("InvalidNetworkInterface.InUse")
            } else if says("Force=true") {
                refused("IncorrectState")
            } else if says("Action=DetachNetworkInterface") {
                refused("InvalidAttachmentID.NotFound")
            } else {
                Some((200, there.to_owned()))
            }
        });
        let server = Server::start(None, handler).await;
        let imds = metadata("eni-1", "vpc-1", "2049-12-31T23:59:59Z");
        let imds = Server::start(None, imds).await;
        let imds = format!("http://{}", imds.address);
        let mut cloud = cloud(&format!("http://{}", server.address));
        let which = Which::Id("eni-9".to_owned());
        cloud.interfaces = vec![MovingInterface {
            which: which.clone(),
            interface: "partner".to_owned(),
            device_index: 2,
            group: "default".to_owned(),
        }];
        let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.as_str())];
        let api = aws(cloud, &variables).await;
        let found = api.look().await.expect("answers");
        assert_eq!(found.known.instance.as_deref(), Some(INSTANCE));
        assert_eq!(found.known.moving[&which], ["eni-9"]);
        let at = &found.holdings.attachments["eni-9"];
        assert_eq!(
            (at.id.as_str(), at.instance.as_str()),
            ("eni-attach-7", "i-0")
        );
        let attach = |to: &str| Call::Attach {
            interface: "eni-9".to_owned(),
            to: to.to_owned(),
            device_index: 2,
        };
        for (answers, why) in [(true, "it is off already"), (false, "it is on its way")] {
            let detach = attach(INSTANCE).before(&found.holdings, answers);
            let detach = detach.expect("another has it");
            assert_eq!(api.call(&detach).await, Outcome::Done, "{why}");
        }
        let outcome = api.call(&attach(INSTANCE)).await;
        assert_eq!(outcome, Outcome::Held(at.clone()));
        assert_eq!(
            api.call(&attach("i-0")).await,
            Outcome::Done,
            "it is there already"
        );
    });
}
