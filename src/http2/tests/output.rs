use std::io::IoSlice;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::Output;

fn first(output: &Output, slices: usize) -> Vec<u8> {
    let mut into = vec![IoSlice::new(&[]); slices];
    let filled = output.slices(&mut into);
    into[..filled].iter().flat_map(|slice| slice.iter().copied()).collect()
}

#[test]
fn large_shared_bytes_are_not_copied() {
    let shared = Bytes::from(vec![7; 4_096]);
    let mut output = Output::default();
    output.copy(b"head");
    output.share(shared.clone());
    let mut slices = [IoSlice::new(&[]); 4];
    assert_eq!(output.slices(&mut slices), 2);
    assert_eq!(slices[1].as_ptr(), shared.as_ptr());
}

#[test]
fn a_lent_buffer_comes_back() {
    let mut output = Output::default();
    assert_eq!(output.take_spare(), None);
    output.give_spare(Vec::with_capacity(1_000));
    output.copy(b"x");
    assert_eq!(output.take_spare(), None, "it is in use");
    output.advance(1);
    output.copy(b"y");
    output.advance(1);
    let spare = output.take_spare().unwrap();
    assert!(spare.is_empty() && spare.capacity() >= 1_000);
    output.copy(b"z");
    output.give_spare(Vec::with_capacity(1));
    output.advance(1);
    assert_eq!(output.take_spare(), None, "it had one of its own");
}

proptest! {
    /// Whatever the order of writing and reading, what comes out is what went in.
    #[test]
    fn bytes_keep_their_order(steps in prop::collection::vec((0_u8..3, 0_usize..3_000, 1_usize..4), 1..200)) {
        let (mut output, mut model) = (Output::default(), Vec::new());
        let mut next = 0_u8;
        for (what, size, slices) in steps {
            let bytes: Vec<u8> = (0..size).map(|_| { next = next.wrapping_add(1); next }).collect();
            match what {
                0 => { output.copy(&bytes); model.extend(bytes); }
                1 => { output.share(bytes.clone().into()); model.extend(bytes); }
                _ => {
                    let seen = first(&output, slices);
                    prop_assert_eq!(&model[..seen.len()], &seen[..]);
                    prop_assert!(!seen.is_empty() || model.is_empty());
                    let taken = size.min(model.len());
                    output.advance(taken);
                    model.drain(..taken);
                }
            }
            prop_assert_eq!(output.len(), model.len());
        }
        prop_assert_eq!(first(&output, 1_000), model);
    }
}
