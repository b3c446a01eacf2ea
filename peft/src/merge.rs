//! Several adapters of one map: attached, switched, weighted, folded in and taken out again.

use burn::{module::Param, tensor::Tensor};

use crate::{Attached, Folded, Linear, Method, PeftError};

impl Linear {
    /// Puts an adapter behind those that are there, switched on.
    ///
    /// # Errors
    ///
    /// If there is one of this name, or a DoRA would not be alone.
    pub fn attach(&mut self, name: &str, method: Method) -> Result<(), PeftError> {
        if self.adapters.iter().any(|other| other.name() == name) {
            return Err(PeftError::Twice { name: name.into() });
        }
        self.adapters.push(Attached::new(name, method));
        self.check_alone().inspect_err(|_| {
            self.adapters.pop();
        })
    }

    /// Takes an adapter away; gives it back.
    ///
    /// # Errors
    ///
    /// If there is none of this name, or it is merged.
    pub fn detach(&mut self, name: &str) -> Result<Method, PeftError> {
        let at = self.place_of(name)?;
        if self.adapters[at].is_merged() {
            return Err(PeftError::Merged { name: name.into() });
        }
        Ok(self.adapters.remove(at).method)
    }

    /// Switches an adapter on or off. Off, it changes nothing and gets no gradient.
    ///
    /// # Errors
    ///
    /// If there is none of this name, it is merged, or a DoRA would not be alone.
    pub fn switch(&mut self, name: &str, is_on: bool) -> Result<(), PeftError> {
        let at = self.place_of(name)?;
        let before = self.adapters[at].is_on();
        self.adapters[at].switch(is_on)?;
        self.check_alone().or_else(|error| {
            self.adapters[at].switch(before)?;
            Err(error)
        })
    }

    /// Weighs what an adapter adds; 1 at the start.
    ///
    /// # Errors
    ///
    /// If there is none of this name, it is merged, or it multiplies.
    pub fn weigh(&mut self, name: &str, weight: f64) -> Result<(), PeftError> {
        let at = self.place_of(name)?;
        let attached = &mut self.adapters[at];
        if attached.is_merged() {
            return Err(PeftError::Merged { name: name.into() });
        }
        let Some(place) = attached.method.weight_mut() else {
            return Err(PeftError::NoWeight { name: name.into() });
        };
        *place = weight;
        Ok(())
    }

    /// Folds the adapters at work into weight and bias, which say the same to rounding.
    ///
    /// # Errors
    ///
    /// If one of them is not linear; nothing is changed then.
    pub fn merge(&mut self) -> Result<(), PeftError> {
        let working = |attached: &&mut Attached| attached.works();
        let mut map = self.folded();
        let mut notes = Vec::new();
        for attached in self.adapters.iter_mut().filter(working) {
            map = attached.method.adapter().merge(map)?;
            notes.push(map.noted.take());
        }
        let merged = self.adapters.iter_mut().filter(working);
        for (attached, noted) in merged.zip(notes) {
            attached.set_merged(noted);
        }
        self.set(map);
        Ok(())
    }

    /// Undoes [`merge`](Self::merge), to rounding.
    ///
    /// # Errors
    ///
    /// If an adapter has multiplied by zero; nothing is changed then.
    pub fn unmerge(&mut self) -> Result<(), PeftError> {
        let mut map = self.folded();
        for attached in self.adapters.iter().rev().filter(|other| other.is_merged()) {
            map.noted = attached.noted();
            map = attached.method.adapter().unmerge(map)?;
        }
        for attached in &mut self.adapters {
            attached.set_unmerged();
        }
        self.set(map);
        Ok(())
    }

    fn place_of(&self, name: &str) -> Result<usize, PeftError> {
        let place = self.adapters.iter().position(|other| other.name() == name);
        place.ok_or_else(|| PeftError::Unknown { name: name.into() })
    }

    fn check_alone(&self) -> Result<(), PeftError> {
        let working: Vec<_> = self.adapters.iter().filter(|other| other.works()).collect();
        let dora = working
            .iter()
            .find(|attached| matches!(attached.method, Method::Dora(_)));
        match dora {
            Some(dora) if working.len() > 1 => Err(PeftError::NotAlone {
                name: dora.name().into(),
            }),
            _ => Ok(()),
        }
    }

    fn folded(&self) -> Folded {
        Folded {
            weight: self.weight.val(),
            bias: self.bias.as_ref().map(|bias| bias.val()),
            noted: None,
        }
    }

    fn set(&mut self, map: Folded) {
        replace(&mut self.weight, map.weight);
        if let (Some(place), Some(bias)) = (&mut self.bias, map.bias) {
            replace(place, bias);
        }
    }
}

/// Other values for a parameter, which trains as before.
fn replace<const D: usize>(place: &mut Param<Tensor<D>>, value: Tensor<D>) {
    *place = place.clone().map(|_| value);
}
