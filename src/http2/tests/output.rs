use std::io::IoSlice;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::{Output, Spare};

fn first(output: &Output, slices: usize) -> Vec<u8> {
    let mut into = vec![IoSlice::new(&[]); slices];
    let filled = output.slices(&mut into);
    into[..filled].iter().flat_map(|slice| slice.iter().copied()).collect()
}

/// Where what comes first lies.
fn first_slice(output: &Output) -> *const u8 {
    let mut into = [IoSlice::new(&[])];
    output.slices(&mut into);
    into[0].as_ptr()
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
fn lent_buffers_come_back() {
    let shared = Bytes::from(vec![7; 4_096]);
    let mut output = Output::default();
    assert!(output.take_spare().is_none());
    output.give_spare(Spare::default());
    output.copy(b"x");
    let lent = first_slice(&output);
    output.share(shared.clone());
    assert!(output.take_spare().is_none(), "they are in use");
    output.advance(output.len());
    let spare = output.take_spare().unwrap();
    let mut other = Output::default();
    other.give_spare(spare);
    other.copy(b"y");
    assert_eq!(first_slice(&other), lent);
    other.advance(1);
    assert!(other.take_spare().is_some());
    output.copy(b"z");
    output.give_spare(Spare::default());
    output.advance(1);
    assert!(output.take_spare().is_none(), "it had some of its own");
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
                    prop_assert!(output.only_slice().is_none_or(|whole| whole == model));
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
