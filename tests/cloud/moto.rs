//! What is asked of a cloud's API and how, against answers that moto gave (`moto/record.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use forwarder::config::model::{ElasticIp, MovingInterface, Route, Which};
use forwarder::core::cloud::Call;
use forwarder::core::cloud::work::Outcome;
use forwarder::io::cloud::api::Api as _;
use serde_json::Value;

use super::api::{at, aws, cloud, metadata, movable, prefix, run};
use super::server::{Handler, Request, Server};

/// moto answers what the forwarder asks, and it understands the answers. Known of moto: it takes no notice of
/// `AllowReassignment`, `PrivateIpAddress`, `Ipv4Prefix` and some dry runs, and finds nothing by private address;
/// and it lets go of network interfaces at once, and gives away what is attached.
#[test]
fn what_moto_answers_is_understood() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/cloud/moto/recorded.json");
    let recorded: Value =
        serde_json::from_str(&fs::read_to_string(path).expect("the file")).expect("JSON");
    let id = |name: &str| recorded["ids"][name].as_str().expect("an id").to_owned();
    let exchanges = recorded["exchanges"].as_array().expect("a list");
    let answers: BTreeMap<String, (u16, String)> = exchanges
        .iter()
        .map(|each| {
            let text = |key: &str| each[key].as_str().expect("text").to_owned();
            let status = each["status"].as_u64().expect("a status") as u16;
            (text("request"), (status, text("answer")))
        })
        .collect();
    let count = answers.len();
    let (here, vpc, table) = (id("here"), id("vpc"), id("table"));
    let (allocation, public) = (id("allocation"), at(&id("public")));
    let (instance, peer, card, attachment) =
        (id("instance"), id("peer"), id("card"), id("attachment"));
    run(async move {
        let replay = move |request: &Request| {
            let unknown = || panic!("never asked of moto: {}", request.body);
            Some(answers.get(&request.body).cloned().unwrap_or_else(unknown))
        };
        let server = Server::start(None, Arc::new(replay)).await;
        let (own, all) = (
            instance.clone(),
            metadata(&here, &vpc, "2049-12-31T23:59:59Z"),
        );
        let imds: Handler = Arc::new(
            move |request| match request.line.ends_with("/instance-id") {
                true => Some((200, own.clone())),
                false => all(request),
            },
        );
        let imds = Server::start(None, imds).await;
        let variable = format!("http://{}", imds.address);
        let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", variable.as_str())];
        let route = Which::Tag("use".to_owned(), "web".to_owned());
        let mut cloud = cloud(&format!("http://{}", server.address));
        cloud.addresses = ["10.0.1.10", "10.0.1.11", "2001:db8::10"]
            .map(|text| movable(at(text)))
            .into();
        cloud.elastic_ips = vec![ElasticIp {
            which: Which::Public(public),
            interface: "outside".to_owned(),
            private: at("10.0.1.10"),
            peer: at("10.0.1.10"),
            group: "default".to_owned(),
        }];
        cloud.routes = vec![Route {
            table: route.clone(),
            destination: prefix("0.0.0.0", 0),
            interface: "outside".to_owned(),
            group: "default".to_owned(),
        }];
        let which = Which::Tag("use".to_owned(), "partner".to_owned());
        cloud.interfaces = vec![MovingInterface {
            which: which.clone(),
            interface: "partner".to_owned(),
            device_index: 2,
            group: "default".to_owned(),
        }];
        let api = aws(cloud.clone(), &variables).await;
        let v4 = |text: &str| text.parse().expect("an address");
        let assign = |to: &str| Call::AssignPrivate {
            to: to.to_owned(),
            addresses: vec![v4("10.0.1.10"), v4("10.0.1.11")],
        };
        let associate = Call::Associate {
            allocation: allocation.clone(),
            to: here.clone(),
            private: at("10.0.1.10"),
        };
        let replace = |destination| Call::ReplaceRoute {
            table: table.clone(),
            destination,
            to: here.clone(),
        };
        let detach = |force| Call::Detach {
            interface: card.clone(),
            attachment: attachment.clone(),
            to: peer.clone(),
            force,
        };
        let attach = Call::Attach {
            interface: card.clone(),
            to: instance.clone(),
            device_index: 2,
        };
        for call in [&associate, &assign(&here)] {
            assert_eq!(api.rehearse(call).await, Outcome::Done, "{call}");
        }
        for call in [
            assign(&here),
            Call::AssignPrefixes {
                to: here.clone(),
                prefixes: vec![prefix("10.0.1.32", 28)],
            },
            Call::AssignIpv6 {
                to: here.clone(),
                addresses: vec!["2001:db8::10".parse().expect("an address")],
            },
            associate,
            replace(prefix("0.0.0.0", 0)),
            detach(true),
            // It is off already.
            detach(false),
            attach,
        ] {
            assert_eq!(api.call(&call).await, Outcome::Done, "{call}");
        }
        let refused = Outcome::Refused(
            "InvalidParameterValue: There is no route defined for '198.18.0.0/15' in the route table. Use CreateRoute instead.".to_owned(),
        );
        assert_eq!(api.call(&replace(prefix("198.18.0.0", 15))).await, refused);
        let stranger = Call::AssignPrivate {
            to: "eni-0123".to_owned(),
            addresses: vec![v4("10.0.1.10")],
        };
        let Outcome::Refused(why) = api.call(&stranger).await else {
            panic!("nobody has that network interface");
        };
        assert!(
            why.starts_with("InvalidNetworkInterfaceID.NotFound"),
            "{why}"
        );

        let found = api.look().await.expect("it is known where everything is");
        assert_eq!(found.known.interfaces["outside"], here);
        assert_eq!(found.known.allocations[&Which::Public(public)], allocation);
        assert_eq!(found.known.tables[&route], std::slice::from_ref(&table));
        for text in ["10.0.1.10", "10.0.1.11", "2001:db8::10"] {
            assert_eq!(found.holdings.addresses[&at(text)], here);
        }
        assert_eq!(found.known.instance.as_ref(), Some(&instance));
        assert_eq!(found.known.moving[&which], std::slice::from_ref(&card));
        let there = &found.holdings.attachments[&card];
        assert_eq!((&there.instance, there.leaving), (&instance, false));
        assert_ne!(there.id, attachment);
        // It is always the primary address that moto associates.
        assert_eq!(found.holdings.elastic[&allocation].0, here);
        assert_eq!(found.holdings.routes[&(table, prefix("0.0.0.0", 0))], here);

        // What is elsewhere moto does not find, or breaks: neither is taken for an answer that it is not.
        cloud.addresses.push(movable(at("10.0.1.99")));
        let found = aws(cloud.clone(), &variables)
            .await
            .look()
            .await
            .expect("nothing is there");
        assert_eq!(found.holdings.addresses.get(&at("10.0.1.99")), None);
        cloud.addresses.pop();
        cloud.addresses.push(movable(at("2001:db8::99")));
        let error = aws(cloud, &variables)
            .await
            .look()
            .await
            .expect_err("it breaks");
        assert_eq!(error, "DescribeNetworkInterfaces: status 500");
        let mut asked: Vec<_> = server
            .seen()
            .into_iter()
            .map(|request| request.body)
            .collect();
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(
            asked.len(),
            count,
            "every request that was recorded is made"
        );
    });
}
