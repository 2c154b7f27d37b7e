//! No words and no frame make these parsers panic, and what they make of words is read back.

use super::{build, dissect, parse};
use mutate::Corpus;

#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;

const OWN: [u8; 6] = [2; 6];
const MUTATIONS: usize = 20_000;

fn judge(words: &str) -> bool {
    let Ok((packet, _)) = parse(words) else {
        return false;
    };
    let again = packet.to_string();
    let read = parse(&again).unwrap_or_else(|error| panic!("{words}: {again}: {error}"));
    assert_eq!(read.0, packet, "{words}");
    if let Ok(frame) = build(&packet, OWN) {
        let _ = dissect(&frame, OWN);
    }
    true
}

#[test]
fn any_words() {
    let mut corpus = Corpus::read(&["tests/fuzz/corpus/words"]);
    for (path, words) in &corpus.files {
        assert!(judge(&String::from_utf8_lossy(words)), "{}", path.display());
    }
    let packets = (0..MUTATIONS)
        .filter(|_| judge(&String::from_utf8_lossy(&corpus.mutation())))
        .count();
    assert!(packets > MUTATIONS / 100, "{packets} of them are packets");
}

#[test]
fn any_frame() {
    let mut corpus = Corpus::read(&["tests/fuzz/corpus/frames"]);
    for (_, file) in &mut corpus.files {
        let digits: Vec<u8> = file
            .iter()
            .filter_map(|digit| char::from(*digit).to_digit(16))
            .map(|digit| digit as u8)
            .collect();
        *file = digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect();
    }
    for (_, frame) in corpus.files.clone() {
        let _ = dissect(&frame, OWN);
    }
    for _ in 0..MUTATIONS {
        let _ = dissect(&corpus.mutation(), OWN);
    }
}
