//! An optimizer with the state of its slots.

use std::collections::HashMap;

use burn::{
    module::{Module, ModuleMapper, Param, ParamId},
    tensor::{Device, Tensor, TensorData},
};
use checkpointing::Gradients;

use crate::{Optimizer, OptimizerError, Slot, State, StateMemory, Turn, clip_scale, gradient_norm};

/// An optimizer with the state of every slot.
#[derive(Debug)]
pub struct SlotOptimizer {
    optimizer: Box<dyn Optimizer>,
    slots: Vec<Slot>,
    /// By slot; none before the first update.
    states: Vec<Option<State>>,
    /// Which slot a parameter has.
    by_id: HashMap<ParamId, usize>,
    memory: StateMemory,
    steps: u64,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub enum Step {
    /// Every parameter that has a gradient was updated.
    Done {
        /// The norm of all gradients together.
        norm: f64,
        /// What they were multiplied by.
        scale: f64,
    },
    /// The gradients are not finite, and nothing was changed.
    Skipped {
        /// Their norm: infinite, or NaN.
        norm: f64,
    },
}

impl SlotOptimizer {
    /// An optimizer that has seen no gradient, for the slots of [`Groups::slots`](crate::Groups::slots).
    pub fn new(optimizer: Box<dyn Optimizer>, slots: Vec<Slot>, memory: StateMemory) -> Self {
        let by_id = slots.iter().enumerate();
        let by_id = by_id.map(|(place, slot)| (slot.id, place)).collect();
        Self {
            optimizer,
            states: vec![None; slots.len()],
            slots,
            by_id,
            memory,
            steps: 0,
        }
    }

    /// The slots, in their fixed order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot of a path, the first of its places.
    pub fn slot(&self, path: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.path == path)
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Starts the next step. Every gradient is to be multiplied by `gradient_scale`, from [`clip_scale`].
    pub fn begin(&mut self, learning_rate: f64, gradient_scale: f64) -> Turn {
        self.steps += 1;
        Turn {
            step: self.steps,
            learning_rate,
            gradient_scale,
        }
    }

    /// Updates one parameter with its complete gradient, `[elements]`. A parameter without a slot stays as it is.
    ///
    /// The other places of a tied weight are the caller's: [`update_module`](Self::update_module) knows them.
    pub fn update<const D: usize>(
        &mut self,
        turn: &Turn,
        param: Param<Tensor<D>>,
        gradient: Tensor<1>,
    ) -> Param<Tensor<D>> {
        let Some(place) = self.by_id.get(&param.id).copied() else {
            return param;
        };
        let (slot, optimizer) = (&self.slots[place], &*self.optimizer);
        let state = self.states[place].get_or_insert_with(|| {
            let zeros = || TensorData::zeros::<f32, _>([slot.elements()]);
            let zeros = optimizer.state_names().iter().map(|_| zeros()).collect();
            State::new(zeros, slot.format, self.memory, &gradient.device())
        });
        param.map(|value| {
            let shape = value.dims();
            let value = value.flatten(0, D - 1);
            let value = optimizer.update(turn, &slot.group, value, gradient, state);
            value.reshape(shape)
        })
    }

    /// Updates every parameter of `module` that has a gradient. All places of a tied weight hold the same new tensor.
    /// Gradients are freed as they are used.
    pub fn update_module<M: Module>(&mut self, turn: &Turn, module: M, gradients: Gradients) -> M {
        module.map(&mut Updater {
            optimizer: self,
            turn,
            gradients,
            tied: HashMap::new(),
        })
    }

    /// A whole step: clips all gradients together to `max_norm` (0 leaves them as they are) and updates. If their norm is
    /// not finite nothing is changed, and the step does not count.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: Gradients,
        learning_rate: f64,
        max_norm: f64,
    ) -> (M, Step) {
        let norm = gradient_norm(&module, &gradients);
        if !norm.is_finite() {
            return (module, Step::Skipped { norm });
        }
        let scale = clip_scale(norm, max_norm);
        let turn = self.begin(learning_rate, scale);
        let module = self.update_module(&turn, module, gradients);
        (module, Step::Done { norm, scale })
    }
}

/// States that are saved and come back.
impl SlotOptimizer {
    /// The names of the tensors in a state.
    pub fn state_names(&self) -> &'static [&'static str] {
        self.optimizer.state_names()
    }

    /// Every slot that was updated, with its state.
    pub fn states(&self) -> impl Iterator<Item = (&Slot, &State)> {
        let states = self.slots.iter().zip(&self.states);
        states.filter_map(|(slot, state)| Some((slot, state.as_ref()?)))
    }

    /// The state of a parameter, if it was updated.
    pub fn state(&self, id: ParamId) -> Option<&State> {
        self.states[*self.by_id.get(&id)?].as_ref()
    }

    /// Sets the steps done, for a state that was saved.
    pub fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Sets the state of a path's slot from its saved tensors, in the order of [`state_names`](Self::state_names).
    /// `device` is that of the parameters.
    ///
    /// # Errors
    ///
    /// If no slot has the path, or the tensors are not as many or not as large as the optimizer's.
    pub fn restore(
        &mut self,
        path: &str,
        values: &[TensorData],
        device: &Device,
    ) -> Result<(), OptimizerError> {
        let place = self.slots.iter().position(|slot| slot.path == path);
        let path = || path.to_owned();
        let place = place.ok_or_else(|| OptimizerError::NoSlot { path: path() })?;
        let (slot, expected) = (&self.slots[place], self.state_names().len());
        if values.len() != expected {
            let found = values.len();
            return Err(OptimizerError::StateTensors {
                path: path(),
                expected,
                found,
            });
        }
        let expected = slot.elements();
        let sizes = values.iter().map(TensorData::num_elements);
        if let Some(found) = sizes.into_iter().find(|found| *found != expected) {
            return Err(OptimizerError::StateSize {
                path: path(),
                expected,
                found,
            });
        }
        // Bytes from a file need not stand where numbers may.
        let aligned =
            |values: &TensorData| TensorData::from(&*values.iter::<f32>().collect::<Vec<_>>());
        let values = values.iter().map(aligned).collect();
        self.states[place] = Some(State::new(values, slot.format, self.memory, device));
        Ok(())
    }
}

struct Updater<'a> {
    optimizer: &'a mut SlotOptimizer,
    turn: &'a Turn,
    gradients: Gradients,
    /// New values of weights that have other places, `[elements]`.
    tied: HashMap<ParamId, Tensor<1>>,
}

impl ModuleMapper for Updater<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let id = param.id;
        if let Some(value) = self.tied.get(&id) {
            return param.map(|old| value.clone().reshape(old.dims()));
        }
        let Some(gradient) = self.gradients.take(id) else {
            return param;
        };
        let param = self.optimizer.update(self.turn, param, gradient);
        let slot = self.optimizer.by_id.get(&id);
        if slot.is_some_and(|slot| self.optimizer.slots[*slot].places > 1) {
            self.tied.insert(id, param.val().flatten(0, D - 1));
        }
        param
    }
}
