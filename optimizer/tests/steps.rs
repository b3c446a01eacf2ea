//! Whole steps: tied weights, skipped steps, one slot alone, groups, states that are saved, in both memories.
#![allow(clippy::unwrap_used, reason = "tests")]

use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::{Linear, LinearConfig},
    tensor::{Device, Distribution, Tensor, TensorData},
};
use checkpointing::{Gradients, parameters};
use optimizer::{AdamW, GroupRule, Groups, Kind, OptimizerError, SlotOptimizer, StateMemory, Step};
use precision::Format;

const RATE: f64 = 1e-2;

fn linear(device: &Device) -> Linear {
    LinearConfig::new(7, 5).init(device)
}

fn optimizer<M: Module>(kind: Kind, module: &M) -> SlotOptimizer {
    with(kind, module, &Groups::default(), StateMemory::Host)
}

fn with<M: Module>(kind: Kind, module: &M, groups: &Groups, memory: StateMemory) -> SlotOptimizer {
    let slots = groups.slots(module).unwrap();
    SlotOptimizer::new(kind.with([0.9, 0.98], 1e-6), slots, memory)
}

/// A random gradient for every parameter of a module, a tied one getting one for each of its places.
fn gradients<M: Module>(module: &M, device: &Device) -> Gradients {
    let mut gradients = Gradients::default();
    for parameter in parameters(module) {
        let spread = Distribution::Normal(0.0, 1.0);
        let gradient = Tensor::<1>::random([parameter.elements()], spread, device);
        gradients.add(parameter.id, gradient);
    }
    gradients
}

fn copy<M: Module>(of: &Gradients, module: &M) -> Gradients {
    let mut copy = Gradients::default();
    for slot in Groups::default().slots(module).unwrap() {
        copy.add(slot.id, of.get(slot.id).unwrap().clone());
    }
    copy
}

/// The bits of all parameters, in order.
fn bits<M: Module>(module: &M) -> Vec<Vec<u32>> {
    struct Bits(Vec<Vec<u32>>);
    impl ModuleVisitor for Bits {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(words(&param.val().into_data()));
        }
    }
    let mut bits = Bits(Vec::new());
    module.visit(&mut bits);
    bits.0
}

fn words(data: &TensorData) -> Vec<u32> {
    data.iter::<f32>().map(f32::to_bits).collect()
}

/// The bits of all states, with their paths.
fn states(optimizer: &SlotOptimizer) -> Vec<(String, Vec<Vec<u32>>)> {
    let state = |(slot, state): (&optimizer::Slot, &optimizer::State)| {
        (
            slot.path.clone(),
            state.values().iter().map(words).collect(),
        )
    };
    optimizer.states().map(state).collect()
}

#[test]
fn a_tied_weight_is_updated_once_and_shared_through_ten_steps() {
    let device = testing::device();
    for kind in [Kind::AdamW, Kind::StableAdamW] {
        let (alone, other) = (linear(&device), linear(&device));
        let mut tied = vec![alone.clone(), other.clone(), alone.clone()];
        let mut untied = vec![alone, other];
        let mut of_tied = optimizer(kind, &tied);
        let mut of_untied = optimizer(kind, &untied);
        assert_eq!(of_tied.slots().len(), 4);
        for _ in 0..10 {
            let gradients = gradients(&tied, &device);
            let same = copy(&gradients, &untied);
            let (step, other);
            (tied, step) = of_tied.step(tied, gradients, RATE, 1.0);
            (untied, other) = of_untied.step(untied, same, RATE, 1.0);
            assert_eq!(step, other);
            let (tied, untied) = (bits(&tied), bits(&untied));
            assert_eq!(tied[..4], untied);
            assert_eq!(tied[4..], untied[..2]);
        }
        assert_eq!(states(&of_tied), states(&of_untied));
        // The same tensor at both places, not a copy: it can be changed in place once the other is gone.
        let last = tied.pop();
        let first = tied.swap_remove(0).weight.into_value();
        assert!(!first.can_mut());
        drop(last);
        assert!(first.can_mut());
    }
}

#[test]
fn a_frozen_place_of_a_tied_weight_follows() {
    let device = testing::device();
    let weight = linear(&device);
    let module = vec![weight.clone().no_grad(), weight];
    let mut optimizer = optimizer(Kind::AdamW, &module);
    assert_eq!(optimizer.slots()[0].path, "0.weight");
    let before = bits(&module);
    let gradients = gradients(&module, &device);
    let (module, _) = optimizer.step(module, gradients, RATE, 1.0);
    let after = bits(&module);
    assert_eq!(after[..2], after[2..]);
    assert_ne!(after, before);
}

#[test]
fn a_step_without_finite_gradients_changes_no_bit_and_is_told() {
    let device = testing::device();
    for kind in [Kind::AdamW, Kind::StableAdamW] {
        for bad in [f32::NAN, f32::INFINITY] {
            let module = vec![linear(&device), linear(&device)];
            let mut optimizer = optimizer(kind, &module);
            let good = gradients(&module, &device);
            let (module, step) = optimizer.step(module, good, RATE, 1.0);
            assert!(matches!(step, Step::Done { .. }));
            let before = (bits(&module), states(&optimizer), optimizer.steps());
            let mut gradients = gradients(&module, &device);
            gradients.add(module[1].weight.id, Tensor::<2>::full([7, 5], bad, &device));
            let (module, step) = optimizer.step(module, gradients, RATE, 1.0);
            assert!(matches!(step, Step::Skipped { norm } if !norm.is_finite()));
            let after = (bits(&module), states(&optimizer), optimizer.steps());
            assert!(after == before);
        }
    }
}

#[test]
fn slots_updated_one_by_one_in_any_order_equal_a_whole_step() {
    let device = testing::device();
    for memory in [StateMemory::Host, StateMemory::Device] {
        for kind in [Kind::AdamW, Kind::StableAdamW] {
            let (mut whole, groups) = (linear(&device), Groups::default());
            let mut single = whole.clone();
            let mut of_whole = with(kind, &whole, &groups, memory);
            let mut of_single = with(kind, &single, &groups, memory);
            for _ in 0..3 {
                let gradients = gradients(&whole, &device);
                let mut same = copy(&gradients, &single);
                let (next, step) = of_whole.step(whole, gradients, RATE, 1.0);
                whole = next;
                let Step::Done { scale, .. } = step else {
                    panic!("{step:?}");
                };
                let turn = of_single.begin(RATE, scale);
                let bias = single.bias.take().unwrap();
                let gradient = same.take(bias.id).unwrap();
                single.bias = Some(of_single.update(&turn, bias, gradient));
                let gradient = same.take(single.weight.id).unwrap();
                single.weight = of_single.update(&turn, single.weight, gradient);
            }
            assert_eq!(bits(&single), bits(&whole));
            assert_eq!(states(&of_single), states(&of_whole));
        }
    }
}

#[test]
fn both_memories_give_the_same_values_but_for_rounding() {
    let device = testing::device();
    for kind in [Kind::AdamW, Kind::StableAdamW] {
        let mut modules = [linear(&device), linear(&device)];
        modules[1] = modules[0].clone();
        let mut optimizers = [StateMemory::Host, StateMemory::Device]
            .map(|memory| with(kind, &modules[0], &Groups::default(), memory));
        for _ in 0..5 {
            let gradients = gradients(&modules[0], &device);
            for (module, optimizer) in modules.iter_mut().zip(&mut optimizers) {
                let same = copy(&gradients, module);
                let turn = optimizer.begin(RATE, 1.0);
                *module = optimizer.update_module(&turn, module.clone(), same);
            }
        }
        let [host, device] = modules.each_ref().map(|module| module.weight.val());
        testing::assert_close(&host, &device, 1e-6);
    }
}

#[test]
fn groups_learn_at_their_own_rate_and_decay_by_their_own_share() {
    let device = testing::device();
    let module = vec![linear(&device), linear(&device)];
    let rule = GroupRule {
        pattern: "1.*".to_owned(),
        rate: 0.25,
        weight_decay: Some(0.0),
    };
    let groups = Groups {
        rules: vec![rule],
        ..Groups::default()
    };
    let mut grouped = with(Kind::AdamW, &module, &groups, StateMemory::Host);
    // The same by hand: the second layer alone, at a quarter of the rate and without decay.
    let groups = Groups {
        weight_decay: 0.0,
        ..Groups::default()
    };
    let mut alone = with(Kind::AdamW, &module[1], &groups, StateMemory::Host);
    let mut plain = optimizer(Kind::AdamW, &module[0]);
    let gradients = gradients(&module, &device);
    let second = copy(&gradients, &module[1]);
    let first = copy(&gradients, &module[0]);
    let turn = alone.begin(0.25 * RATE, 1.0);
    let second = alone.update_module(&turn, module[1].clone(), second);
    let turn = plain.begin(RATE, 1.0);
    let first = plain.update_module(&turn, module[0].clone(), first);
    let turn = grouped.begin(RATE, 1.0);
    let module = grouped.update_module(&turn, module, gradients);
    assert_eq!(bits(&module), bits(&vec![first, second]));
}

#[test]
fn a_saved_state_goes_on_bit_by_bit() {
    let device = testing::device();
    for format in Format::ALL {
        for memory in [StateMemory::Host, StateMemory::Device] {
            let groups = Groups {
                format,
                ..Groups::default()
            };
            let module = linear(&device);
            let mut one = with(Kind::AdamW, &module, &groups, memory);
            let first = gradients(&module, &device);
            let (module, _) = one.step(module, first, RATE, 1.0);
            let mut other = with(Kind::AdamW, &module, &groups, memory);
            for (slot, state) in one.states() {
                assert_eq!(state.bytes(), 2 * format.bytes(slot.elements()));
                other.restore(&slot.path, &state.values(), &device).unwrap();
            }
            other.set_steps(one.steps());
            let next = gradients(&module, &device);
            let same = copy(&next, &module);
            let (a, _) = one.step(module.clone(), next, RATE, 1.0);
            let (b, _) = other.step(module, same, RATE, 1.0);
            assert_eq!(bits(&a), bits(&b), "{format}");
            assert_eq!(states(&one), states(&other), "{format}");
        }
    }
}

#[test]
fn a_state_in_16_bits_stays_near_the_whole_one() {
    let device = testing::device();
    let mut modules = [linear(&device), linear(&device)];
    modules[1] = modules[0].clone();
    let before = modules[0].weight.val();
    let mut optimizers = [Format::F32, Format::Bf16].map(|format| {
        let groups = Groups {
            format,
            ..Groups::default()
        };
        with(Kind::AdamW, &modules[0], &groups, StateMemory::Host)
    });
    for _ in 0..10 {
        let gradients = gradients(&modules[0], &device);
        for (module, optimizer) in modules.iter_mut().zip(&mut optimizers) {
            let same = copy(&gradients, module);
            let (next, _) = optimizer.step(module.clone(), same, RATE, 1.0);
            *module = next;
        }
    }
    let [whole, stored] = modules.each_ref().map(|module| module.weight.val());
    let moved = testing::largest(&(whole.clone() - before));
    testing::assert_within(&stored, &whole, 0.02 * moved);
}

#[test]
fn a_state_that_does_not_fit_is_told_by_its_path() {
    let device = testing::device();
    let module = linear(&device);
    let slots = Groups::default().slots(&module).unwrap();
    let mut optimizer = SlotOptimizer::new(Box::new(AdamW::default()), slots, StateMemory::Host);
    let zeros = |elements: usize| TensorData::zeros::<f32, _>([elements]);
    let mut restore = |path: &str, values: &[TensorData]| {
        let error = optimizer.restore(path, values, &device).unwrap_err();
        assert!(optimizer.states().next().is_none());
        error
    };
    assert_eq!(
        restore("wieght", &[zeros(35), zeros(35)]),
        OptimizerError::NoSlot {
            path: "wieght".to_owned()
        }
    );
    assert_eq!(
        restore("weight", &[zeros(35)]),
        OptimizerError::StateTensors {
            path: "weight".to_owned(),
            expected: 2,
            found: 1
        }
    );
    assert_eq!(
        restore("weight", &[zeros(35), zeros(34)]),
        OptimizerError::StateSize {
            path: "weight".to_owned(),
            expected: 35,
            found: 34
        }
    );
}
