//! Plans, calls under way, and whose things are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use super::owner::{Look, Owner, Verdict};
use super::work::{Outcome, PATIENCE, PEACE, Try, Work};
use super::*;
use crate::config::model::{ElasticIp, JournalBucket, Movable, MovingInterface, Route};
use serde_json::json;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn at(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn prefix(text: &str, length: u8) -> Prefix {
    Prefix::of(at(text), length).expect("a prefix")
}

fn movable<T>(what: T, interface: &str, group: &str) -> Movable<T> {
    Movable {
        what,
        interface: interface.to_owned(),
        group: group.to_owned(),
    }
}

fn cloud() -> Cloud {
    let route = |table: &str, destination| Route {
        table: Which::Id(table.to_owned()),
        destination,
        interface: "inside".to_owned(),
        group: "default".to_owned(),
    };
    Cloud {
        region: None,
        endpoint: None,
        proxy: None,
        ca_file: None,
        refresh: ms(10_000),
        journal: None,
        instance_type: None,
        limits_file: None,
        journal_bucket: None,
        addresses: vec![
            movable(at("10.0.1.10"), "outside", "default"),
            movable(at("10.0.1.11"), "outside", "mail"),
            movable(at("10.0.1.12"), "outside", "default"),
            movable(at("2001:db8::10"), "outside", "default"),
            movable(at("10.0.2.10"), "inside", "default"),
        ],
        prefixes: vec![movable(prefix("10.0.1.32", 28), "outside", "default")],
        elastic_ips: vec![ElasticIp {
            which: Which::Tag("use".to_owned(), "web".to_owned()),
            interface: "outside".to_owned(),
            private: at("10.0.1.10"),
            peer: at("10.0.1.10"),
            group: "default".to_owned(),
        }],
        routes: vec![
            route("rtb-1", prefix("0.0.0.0", 0)),
            route("rtb-1", prefix("::", 0)),
        ],
        interfaces: Vec::new(),
    }
}

fn known() -> Known {
    let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
    Known {
        interfaces: BTreeMap::from([pair("outside", "eni-1"), pair("inside", "eni-2")]),
        allocations: BTreeMap::from([(
            Which::Tag("use".to_owned(), "web".to_owned()),
            "eipalloc-1".to_owned(),
        )]),
        ambiguous: BTreeSet::new(),
        tables: BTreeMap::from([(Which::Id("rtb-1".to_owned()), vec!["rtb-1".to_owned()])]),
        moving: BTreeMap::new(),
        instance: None,
    }
}

#[test]
fn one_call_for_all_addresses_of_a_network_interface() {
    let planned = plan(&cloud(), "default", &known());
    assert_eq!(planned.missing, [""; 0]);
    let told: Vec<_> = planned.calls.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "AssignPrivateIpAddresses 10.0.1.10, 10.0.1.12 → eni-1",
            "AssignPrivateIpAddresses 10.0.1.32/28 → eni-1",
            "AssignIpv6Addresses 2001:db8::10 → eni-1",
            "AssignPrivateIpAddresses 10.0.2.10 → eni-2",
            "AssociateAddress eipalloc-1 at 10.0.1.10 → eni-1",
            "ReplaceRoute 0.0.0.0/0 in rtb-1 → eni-2",
            "ReplaceRoute ::/0 in rtb-1 → eni-2",
        ]
    );
    let parameters = |index: usize| planned.calls[index].parameters();
    let text = |index| {
        let all = parameters(index).into_iter();
        all.map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join("&")
    };
    assert_eq!(
        text(0),
        "NetworkInterfaceId=eni-1&AllowReassignment=true&PrivateIpAddress.1=10.0.1.10&PrivateIpAddress.2=10.0.1.12"
    );
    assert_eq!(
        text(4),
        "AllocationId=eipalloc-1&NetworkInterfaceId=eni-1&PrivateIpAddress=10.0.1.10&AllowReassociation=true"
    );
    assert_eq!(
        text(6),
        "RouteTableId=rtb-1&DestinationIpv6CidrBlock=::/0&NetworkInterfaceId=eni-2"
    );
    let mail = plan(&cloud(), "mail", &known());
    assert_eq!(mail.calls.len(), 1);
}

#[test]
fn what_was_not_found_is_told_and_the_rest_moves() {
    let mut known = known();
    known.interfaces.remove("inside");
    known.allocations.clear();
    let planned = plan(&cloud(), "default", &known);
    assert_eq!(planned.calls.len(), 3);
    assert_eq!(
        planned.missing,
        [
            "the Elastic IP address tag use=web",
            "the network interface of \"inside\""
        ]
    );
}

#[test]
fn only_what_is_elsewhere_is_lacking() {
    let planned = plan(&cloud(), "default", &known());
    let mut holdings = Holdings::default();
    assert_eq!(lacking(&planned.calls, &holdings), planned.calls);
    for (address, holder) in [
        ("10.0.1.10", "eni-1"),
        ("10.0.1.12", "eni-9"),
        ("2001:db8::10", "eni-1"),
        ("10.0.2.10", "eni-2"),
    ] {
        let holder = holder.to_owned();
        holdings.addresses.insert(at(address), holder);
    }
    let to = "eni-1".to_owned();
    holdings
        .elastic
        .insert("eipalloc-1".to_owned(), (to.clone(), at("10.0.1.10")));
    holdings
        .prefixes
        .insert(prefix("10.0.1.32", 28), to.clone());
    for (family, length) in [("0.0.0.0", 0), ("::", 0)] {
        let place = ("rtb-1".to_owned(), prefix(family, length));
        holdings.routes.insert(place, "eni-2".to_owned());
    }
    let addresses = vec!["10.0.1.12".parse().expect("an address")];
    let left = lacking(&planned.calls, &holdings);
    assert_eq!(left, [Call::AssignPrivate { to, addresses }]);
    assert_eq!(anchor(&planned.calls, &holdings), Some(Place::Here));
    let there = "eni-9".to_owned();
    assert_eq!(
        anchor(&left, &holdings),
        Some(Place::Elsewhere(there.clone()))
    );
    assert_eq!(left[0].holders(&holdings).into_iter().next(), Some(there));
}

/// Ends every try that is under way.
fn end(work: &mut Work, tries: &[Try], outcome: &Outcome, now: Duration) {
    for each in tries {
        work.ended(each, outcome.clone(), 500, now);
    }
}

fn again() -> Outcome {
    Outcome::Again("RequestLimitExceeded".to_owned())
}

#[test]
fn calls_are_made_at_once_and_again_with_longer_pauses() {
    let calls = plan(&cloud(), "default", &known()).calls;
    let mut work = Work::new(calls.clone(), Holdings::default(), true, ms(0));
    let tries = work.start(ms(0));
    assert_eq!(tries.len(), calls.len());
    end(&mut work, &tries[1..], &Outcome::Done, ms(100));
    let (mut now, mut tries, mut pauses) = (ms(100), vec![tries[0].clone()], Vec::new());
    while !work.is_over() {
        end(&mut work, &tries, &again(), now);
        let Some(next) = work.next() else { break };
        pauses.push((next - now).as_millis());
        now = next;
        tries = work.start(now);
        assert_eq!(tries.len(), 1);
    }
    assert_eq!(&pauses[..6], [150, 300, 600, 1_200, 2_400, 3_750]);
    assert!(now > PATIENCE * 9 / 10 && now <= PATIENCE, "{now:?}");
    let job = &work.jobs()[0];
    assert_eq!(job.end.map(|(done, _)| done), Some(false));
    assert_eq!(job.trouble.as_deref(), Some("RequestLimitExceeded"));
    assert_eq!(work.jobs()[1].end, Some((true, ms(100))));
}

#[test]
fn a_slow_try_gets_company_and_whoever_is_first_counts() {
    let calls = plan(&cloud(), "mail", &known()).calls;
    let mut work = Work::new(calls, Holdings::default(), true, ms(0));
    let first = work.start(ms(0));
    assert_eq!(work.next(), Some(ms(2_000)));
    assert_eq!(work.start(ms(1_999)), []);
    let second = work.start(ms(2_000));
    assert_eq!(second, first);
    end(&mut work, &first, &Outcome::Done, ms(5_000));
    assert!(work.is_over());
    end(&mut work, &second, &again(), ms(7_000));
    assert_eq!(work.jobs()[0].end, Some((true, ms(5_000))));
    assert_eq!(work.jobs()[0].tries, 2);
}

#[test]
fn ipv6_lets_go_only_after_a_refusal() {
    let mut cloud = cloud();
    cloud.addresses.retain(|each| each.what.is_ipv6());
    cloud.prefixes.clear();
    cloud.elastic_ips.clear();
    cloud.routes.clear();
    let calls = plan(&cloud, "default", &known()).calls;
    let mut holdings = Holdings::default();
    let there = "eni-9".to_owned();
    holdings.addresses.insert(at("2001:db8::10"), there);
    let refused = Outcome::Refused("InvalidParameterValue".to_owned());

    let mut work = Work::new(calls.clone(), holdings, true, ms(0));
    let tries = work.start(ms(0));
    assert_eq!(tries[0].call.action(), "AssignIpv6Addresses");
    end(&mut work, &tries, &refused, ms(100));
    let tries = work.start(ms(100));
    assert_eq!(
        tries[0].call.to_string(),
        "UnassignIpv6Addresses 2001:db8::10 → eni-9"
    );
    end(&mut work, &tries, &Outcome::Done, ms(200));
    let tries = work.start(ms(200));
    assert_eq!(tries[0].call.action(), "AssignIpv6Addresses");
    end(&mut work, &tries, &Outcome::Done, ms(300));
    assert_eq!(work.jobs()[0].end, Some((true, ms(300))));

    // Nobody is known to have it: the refusal holds.
    let mut work = Work::new(calls, Holdings::default(), true, ms(0));
    let tries = work.start(ms(0));
    end(&mut work, &tries, &refused, ms(100));
    assert_eq!(work.jobs()[0].end, Some((false, ms(100))));
}

fn look(anchor: Place, heard: bool, at: u64) -> Look {
    Look {
        complete: anchor == Place::Here,
        anchor,
        heard,
        at: ms(at),
    }
}

fn elsewhere() -> Place {
    Place::Elsewhere("eni-9".to_owned())
}

#[test]
fn who_sees_its_things_gone_steps_aside() {
    let mut owner = Owner::new(ms(0), ms(100));
    // Asked before they were taken.
    assert_eq!(owner.look(&look(elsewhere(), false, 50)), Verdict::Stay);
    assert_eq!(owner.look(&look(Place::Here, false, 200)), Verdict::Stay);
    let gone = |owner: &mut Owner, at| owner.look(&look(elsewhere(), false, at));
    assert_eq!(gone(&mut owner, 60_000), Verdict::Stay);
    assert!(owner.is_uncertain(ms(60_000)));
    assert_eq!(gone(&mut owner, 61_000), Verdict::Stay);
    assert_eq!(gone(&mut owner, 62_000), Verdict::Yield);
}

#[test]
fn a_late_call_of_the_one_before_is_outdone_once() {
    let mut owner = Owner::new(ms(0), ms(100));
    let gone = |owner: &mut Owner, at| owner.look(&look(elsewhere(), false, at));
    assert_eq!(owner.look(&look(Place::Here, false, 200)), Verdict::Stay);
    assert_eq!(gone(&mut owner, 1_000), Verdict::Stay);
    assert_eq!(gone(&mut owner, 3_000), Verdict::Take);
    owner.took(ms(3_100));
    assert_eq!(owner.look(&look(Place::Here, false, 4_000)), Verdict::Stay);
    // It was no late call: the other is alive.
    assert_eq!(gone(&mut owner, 5_000), Verdict::Stay);
    assert_eq!(gone(&mut owner, 7_000), Verdict::Yield);
}

#[test]
fn what_somebody_else_moved_is_taken_back_with_pauses() {
    let mut owner = Owner::new(ms(0), ms(100));
    assert_eq!(owner.look(&look(Place::Here, true, 1_000)), Verdict::Stay);
    let moved = |owner: &mut Owner, at| owner.look(&look(elsewhere(), true, at));
    assert_eq!(moved(&mut owner, 30_000), Verdict::Stay);
    assert_eq!(moved(&mut owner, 32_000), Verdict::Take);
    owner.took(ms(32_100));
    assert_eq!(moved(&mut owner, 33_000), Verdict::Stay);
    assert_eq!(moved(&mut owner, 43_000), Verdict::Take);
    owner.took(ms(43_100));
    let mut part = look(Place::Here, true, 44_000);
    part.complete = false;
    assert_eq!(owner.look(&part), Verdict::Stay);
    part.at = ms(48_200);
    assert_eq!(owner.look(&part), Verdict::Take);
    owner.took(ms(48_300));
    let nowhere = look(Place::Nowhere, false, 54_000);
    assert_eq!(owner.look(&nowhere), Verdict::Take);
}

#[test]
fn the_policy_allows_what_the_file_needs_and_no_more() {
    let mut cloud = cloud();
    cloud.region = Some("us-gov-west-1".to_owned());
    let policy = policy::policy(&cloud);
    let statements = policy["Statement"].as_array().expect("statements");
    let names: Vec<_> = statements
        .iter()
        .filter_map(|each| each["Sid"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "Look",
            "MoveAddresses",
            "MoveElasticIpsTo",
            "MoveElasticIpsByTag1",
            "MoveRoutes"
        ]
    );
    assert_eq!(
        statements[4]["Resource"][0],
        "arn:aws-us-gov:ec2:us-gov-west-1:*:route-table/rtb-1"
    );
    assert_eq!(
        statements[3]["Condition"]["StringEquals"]["aws:ResourceTag/use"],
        "web"
    );
    cloud.journal_bucket = Some(JournalBucket {
        name: "journal".to_owned(),
        prefix: "forwarder/".to_owned(),
        endpoint: None,
    });
    for (region, partition) in [
        ("eu-central-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("eusc-de-east-1", "aws-eusc"),
    ] {
        cloud.region = Some(region.to_owned());
        let policy = policy::policy(&cloud);
        let last = policy["Statement"].as_array().and_then(|all| all.last());
        let last = last.expect("a statement");
        let objects = format!("arn:{partition}:s3:::journal/forwarder/*");
        assert_eq!(
            (&last["Sid"], &last["Resource"][0]),
            (&json!("KeepJournal"), &json!(objects))
        );
        assert_eq!(last["Action"], json!(["s3:GetObject", "s3:PutObject"]));
    }
    cloud.journal_bucket = None;
    cloud.addresses.retain(|each| each.what.is_ipv4());
    (cloud.elastic_ips, cloud.routes) = (Vec::new(), Vec::new());
    let text = policy::policy(&cloud).to_string();
    for action in [
        "Ipv6",
        "AssociateAddress",
        "ReplaceRoute",
        "DescribeAddresses",
        "DescribeRouteTables",
    ] {
        assert!(!text.contains(action), "{text}");
    }
}

/// Detached first, as far as it is known that somebody has it.
#[test]
fn a_network_interface_is_detached_and_attached() {
    let mut cloud = cloud();
    let which = Which::Tag("use".to_owned(), "partner".to_owned());
    cloud.interfaces = vec![MovingInterface {
        which: which.clone(),
        interface: "partner".to_owned(),
        device_index: 2,
        group: "partner".to_owned(),
    }];
    let mut known = known();
    let missing = |known: &Known| plan(&cloud, "partner", known).missing;
    assert_eq!(missing(&known), ["the network interface tag use=partner"]);
    let two = ["eni-9".to_owned(), "eni-8".to_owned()];
    known.moving.insert(which.clone(), two.to_vec());
    assert_eq!(
        missing(&known),
        ["the network interface tag use=partner alone: several have it"]
    );
    known.moving.insert(which, two[..1].to_vec());
    assert_eq!(missing(&known), ["this instance's id"]);
    known.instance = Some("i-1".to_owned());
    let calls = plan(&cloud, "partner", &known).calls;
    let mut holdings = Holdings::default();
    assert_eq!(anchor(&calls, &holdings), Some(Place::Nowhere));
    assert_eq!(calls[0].before(&holdings, true), None);
    let at = |instance: &str| Attachment {
        id: "eni-attach-7".to_owned(),
        instance: instance.to_owned(),
        leaving: false,
    };
    holdings.attachments.insert("eni-9".to_owned(), at("i-0"));
    let there = Place::Elsewhere("i-0".to_owned());
    assert_eq!(anchor(&calls, &holdings), Some(there));
    for (heard, force) in [(true, "false"), (false, "true")] {
        let mut work = Work::new(calls.clone(), holdings.clone(), heard, ms(0));
        let detach = work.start(ms(0)).remove(0);
        assert_eq!(
            detach.call.to_string(),
            "DetachNetworkInterface eni-9 ← i-0"
        );
        let parameters = detach.call.parameters();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            parameters,
            [pair("AttachmentId", "eni-attach-7"), pair("Force", force)]
        );
        work.ended(&detach, Outcome::Done, 0, ms(100));
        let attach = work.start(ms(100)).remove(0);
        assert_eq!(attach.call, calls[0]);
        // It is not off yet.
        work.ended(&attach, Outcome::Again("in use".to_owned()), 0, ms(200));
        let again = work.start(ms(600)).remove(0);
        assert_eq!(again.call, calls[0]);
        work.ended(&again, Outcome::Done, 0, ms(700));
        assert!(work.is_over());
    }
    holdings.attachments.insert("eni-9".to_owned(), at("i-1"));
    assert_eq!(lacking(&calls, &holdings), []);
    assert_eq!(calls[0].before(&holdings, false), None);
    assert_eq!(anchor(&calls, &holdings), Some(Place::Here));

    cloud.region = Some("eu-central-1".to_owned());
    let policy = policy::policy(&cloud);
    let statements = policy["Statement"].as_array().expect("statements");
    let [to, of] = &statements[statements.len() - 2..] else {
        panic!("{policy}");
    };
    let actions = json!(["ec2:AttachNetworkInterface", "ec2:DetachNetworkInterface"]);
    assert_eq!((&to["Action"], &of["Action"]), (&actions, &actions));
    let instances = "arn:aws:ec2:eu-central-1:*:instance/*";
    assert_eq!(to["Resource"], json!([instances]));
    let condition = &of["Condition"]["StringEquals"];
    assert_eq!(condition["aws:ResourceTag/use"], "partner");
}

/// The peer dies when it was asked already: it is waited for a while, and then no more.
#[test]
fn a_peer_that_dies_on_the_way_loses_its_network_interface_by_force() {
    let calls = vec![Call::Attach {
        interface: "eni-9".to_owned(),
        to: "i-1".to_owned(),
        device_index: 2,
    }];
    let mut holdings = Holdings::default();
    let there = Attachment {
        id: "eni-attach-7".to_owned(),
        instance: "i-0".to_owned(),
        leaving: false,
    };
    holdings.attachments.insert("eni-9".to_owned(), there);
    let force = |call: &Call| match call {
        Call::Detach { force, .. } => Some(*force),
        _ => None,
    };
    let in_use = || Outcome::Again("in use".to_owned());

    // The request is not answered yet: it is made by force at once, and what becomes of the first counts no more.
    let mut work = Work::new(calls.clone(), holdings.clone(), true, ms(0));
    let asked = work.start(ms(0)).remove(0);
    assert_eq!(force(&asked.call), Some(false));
    work.alone(ms(150));
    let forced = work.start(ms(150)).remove(0);
    assert_eq!(force(&forced.call), Some(true));
    work.ended(&asked, Outcome::Done, 0, ms(200));
    assert_eq!(work.start(ms(200)), []);
    work.alone(ms(200));
    assert_eq!(work.start(ms(200)), [], "it is under way");
    work.ended(&forced, Outcome::Done, 0, ms(300));
    assert_eq!(work.start(ms(300))[0].call, calls[0]);
    work.alone(ms(60_000));
    assert_eq!(work.start(ms(300)), [], "force is the last thing there is");

    // It was granted, and the peer is dead before it has let go.
    let mut work = Work::new(calls.clone(), holdings, true, ms(0));
    let asked = work.start(ms(0)).remove(0);
    work.ended(&asked, Outcome::Done, 0, ms(100));
    let mut now = ms(100);
    let mut before = Vec::new();
    while now < ms(100) + PEACE {
        work.alone(now);
        for each in work.start(now) {
            before.push(each.call.clone());
            work.ended(&each, in_use(), 0, now);
        }
        now += ms(100);
    }
    assert!(before.len() > 3, "{before:?}");
    assert!(before.iter().all(|call| *call == calls[0]), "{before:?}");
    work.alone(now);
    let forced = work.start(now).remove(0);
    assert_eq!(force(&forced.call), Some(true));
    work.ended(&forced, Outcome::Done, 0, now);
    let attach = work.start(now).remove(0);
    assert_eq!(attach.call, calls[0]);
    work.ended(&attach, Outcome::Done, 0, now + ms(100));
    assert_eq!(work.jobs()[0].end, Some((true, now + ms(100))));
}

/// It was thought to be at nobody: who has it is told by the refusal.
#[test]
fn a_network_interface_that_another_has_by_now_is_detached_there() {
    let attach = Call::Attach {
        interface: "eni-9".to_owned(),
        to: "i-1".to_owned(),
        device_index: 2,
    };
    let held = |id: &str| {
        Outcome::Held(Attachment {
            id: id.to_owned(),
            instance: "i-0".to_owned(),
            leaving: false,
        })
    };
    let mut work = Work::new(vec![attach.clone()], Holdings::default(), true, ms(0));
    let mut made = Vec::new();
    for (now, outcome) in [
        (0, held("eni-attach-7")),
        (100, Outcome::Done),
        // It is on its way off; then somebody attaches it there anew.
        (200, held("eni-attach-7")),
        (400, held("eni-attach-8")),
        (500, Outcome::Done),
        (600, Outcome::Done),
    ] {
        let each = work.start(ms(now)).remove(0);
        made.push(match &each.call {
            Call::Detach { attachment, .. } => attachment.clone(),
            call => call.action().to_owned(),
        });
        work.ended(&each, outcome, 0, ms(now));
    }
    let attach = attach.action();
    let expected = [
        attach,
        "eni-attach-7",
        attach,
        attach,
        "eni-attach-8",
        attach,
    ];
    assert_eq!(made, expected);
    assert_eq!(work.jobs()[0].end, Some((true, ms(600))));
}

#[test]
fn a_tag_that_several_have_moves_none_of_them() {
    let (cloud, mut known) = (cloud(), known());
    let which = cloud.elastic_ips[0].which.clone();
    known.ambiguous.insert(which);
    let planned = plan(&cloud, "default", &known);
    assert_eq!(
        planned.missing,
        ["the Elastic IP address tag use=web alone: several have it"]
    );
    let associates = |call: &Call| matches!(call, Call::Associate { .. });
    assert!(!planned.calls.iter().any(associates) && !planned.calls.is_empty());
}
