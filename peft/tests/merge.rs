//! Several adapters of one map: folded in they say the same, taken out again the map is as before.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use burn::tensor::{Device, Distribution, Tensor};
use checkpointing::check::shaken;
use kernels::Activation;
use peft::{
    BottleneckConfig, Dora, Ia3, Linear, LinearConfig, LoraConfig, LoraStart, Method, PeftError,
};

const LORA: LoraConfig = LoraConfig {
    rank: 3,
    alpha: 6.0,
    rank_stabilised: false,
    dropout: 0.1,
    start: LoraStart::Kaiming,
};

fn map(device: &Device) -> Linear {
    shaken(LinearConfig::new(10, 7).init(device))
}

fn lora(device: &Device) -> Method {
    Method::Lora(shaken(LORA.init([10, 7], device)))
}

fn ia3(on_input: bool, device: &Device) -> Method {
    Method::Ia3(shaken(Ia3::new([10, 7], on_input, device)))
}

fn dora(map: &Linear, device: &Device) -> Method {
    Method::Dora(shaken(Dora::new(&LORA, &map.base(), device)))
}

/// What is attached to the map, in a row.
fn rows(map: &Linear, device: &Device) -> Vec<Vec<Method>> {
    vec![
        vec![lora(device)],
        vec![lora(device), lora(device)],
        vec![dora(map, device)],
        vec![ia3(false, device)],
        vec![ia3(true, device)],
        vec![ia3(true, device), lora(device), ia3(false, device)],
    ]
}

#[test]
fn merged_says_the_same_and_unmerged_is_the_base() {
    let device = testing::device();
    let base = map(&device);
    let input = Tensor::<2>::random([9, 10], Distribution::Normal(0.0, 1.0), &device);
    for row in rows(&base, &device) {
        let mut map = base.clone();
        for (i, method) in row.into_iter().enumerate() {
            map.attach(&format!("{i}"), method).unwrap();
        }
        let want = map.forward(input.clone());
        assert!(testing::largest(&(want.clone() - base.forward(input.clone()))) > 0.1);
        map.merge().unwrap();
        testing::assert_close(&map.forward(input.clone()), &want, 1e-6);
        let mut stripped = map.clone();
        stripped.adapters.clear();
        assert_eq!(
            stripped.forward(input.clone()).into_data(),
            map.forward(input.clone()).into_data(),
            "merged, an adapter does nothing beside the map"
        );
        assert!(map.detach("0").is_err(), "merged, it cannot be taken away");
        map.unmerge().unwrap();
        testing::assert_close(&map.weight.val(), &base.weight.val(), 1e-6);
        testing::assert_close(
            &map.bias.as_ref().unwrap().val(),
            &base.bias.as_ref().unwrap().val(),
            1e-6,
        );
        testing::assert_close(&map.forward(input.clone()), &want, 1e-6);
    }
}

#[test]
fn weights_and_switches_are_of_the_adapter_they_name() {
    let device = testing::device();
    let base = map(&device);
    let input = Tensor::<2>::random([9, 10], Distribution::Normal(0.0, 1.0), &device);
    let alone = |method: &Method| {
        let mut map = base.clone();
        map.attach("a", method.clone()).unwrap();
        map.forward(input.clone()) - base.forward(input.clone())
    };
    let (a, b) = (lora(&device), lora(&device));
    let mut both = base.clone();
    both.attach("a", a.clone()).unwrap();
    both.attach("b", b.clone()).unwrap();
    both.weigh("b", 0.25).unwrap();
    let want = base.forward(input.clone()) + alone(&a) + alone(&b) * 0.25;
    testing::assert_close(&both.forward(input.clone()), &want, 1e-6);
    both.switch("a", false).unwrap();
    let want = base.forward(input.clone()) + alone(&b) * 0.25;
    testing::assert_close(&both.forward(input.clone()), &want, 1e-6);
    both.merge().unwrap();
    testing::assert_close(&both.forward(input.clone()), &want, 1e-6);
    assert_eq!(both.switch("b", false), Err(merged("b")));
    assert_eq!(both.weigh("b", 1.0), Err(merged("b")));
    both.switch("a", true).unwrap();
    both.detach("a").unwrap();
    both.unmerge().unwrap();
    testing::assert_close(&both.forward(input), &want, 1e-6);
}

fn merged(name: &str) -> PeftError {
    PeftError::Merged { name: name.into() }
}

#[test]
fn what_cannot_be_is_an_error_and_changes_nothing() {
    let device = testing::device();
    let mut map = map(&device);
    let before = map.weight.val().into_data();
    let name = || "a".to_owned();
    assert_eq!(
        map.switch("a", true),
        Err(PeftError::Unknown { name: name() })
    );
    map.attach("a", lora(&device)).unwrap();
    let twice = map.attach("a", lora(&device));
    assert_eq!(twice, Err(PeftError::Twice { name: name() }));
    let dora = dora(&map, &device);
    let beside = map.attach("d", dora.clone());
    assert_eq!(beside, Err(PeftError::NotAlone { name: "d".into() }));
    assert_eq!(map.adapters.len(), 1);
    map.switch("a", false).unwrap();
    map.attach("d", dora).unwrap();
    let beside = map.switch("a", true);
    assert_eq!(beside, Err(PeftError::NotAlone { name: "d".into() }));
    assert!(!map.adapters[0].is_on());
    let weighed = map.weigh("d", 0.5);
    assert_eq!(weighed, Err(PeftError::NoWeight { name: "d".into() }));
    map.detach("d").unwrap();

    let bottleneck = BottleneckConfig {
        width: 2,
        scale: 1.0,
        activation: Activation::Gelu,
        norm: None,
    };
    let bottleneck = Method::Bottleneck(bottleneck.init(7, &device));
    map.switch("a", true).unwrap();
    map.attach("b", bottleneck).unwrap();
    assert_eq!(map.merge(), Err(PeftError::NotLinear));
    assert_eq!(map.weight.val().into_data(), before);
    map.detach("b").unwrap();

    let mut zero = Ia3::new([10, 7], false, &device);
    zero.factors = zero.factors.map(|factors| factors * 0.0);
    map.detach("a").unwrap();
    map.attach("z", Method::Ia3(zero)).unwrap();
    map.merge().unwrap();
    assert_eq!(map.unmerge(), Err(PeftError::MultipliedByZero));
    assert!(map.adapters[0].is_merged());
}
