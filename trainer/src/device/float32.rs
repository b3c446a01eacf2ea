//! Products in float32 on CUDA.
//!
//! Burn's own round float32 to TF32, of 10 bits, wherever there are tensor cores, and it has no switch for that. These
//! take the kernels that need none.

use burn::backend::{
    Autodiff, Backend, DType, Dispatch, DispatchTensor, Shape, TensorMetadata,
    autodiff::{
        NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind, binary},
    },
    backend_extension,
    cubecl::dtype_to_storage_type,
    ops::FloatTensorOps,
    tensor::FloatTensor,
};
use burn_cubecl::{
    CubeBackend,
    kernel::{into_contiguous, matmul::init_matmul_output},
    tensor::CubeTensor,
};
use cubek::{
    matmul::{
        definition::{MatmulElems, MatmulGlobalElems},
        launch::launch_ref,
        multi_level::{
            self,
            routines::{TileSizeSelection, batch::simple_unit::SimpleUnitSelectionArgs},
        },
        routine::BlueprintStrategy,
        strategy::Strategy,
    },
    std::InputBinding,
};

/// The product of two tensors on CUDA.
pub(super) fn product(left: DispatchTensor, right: DispatchTensor) -> DispatchTensor {
    Dispatch::float32_product(left, right)
}

/// Products that round nothing but their sums.
#[backend_extension(Cube, Autodiff, Fusion: cfg(feature = "tune"))]
pub(super) trait Float32: Backend {
    /// Shapes: `[..., m, k]`, `[..., k, n] -> [..., m, n]`, the leading axes alike.
    #[fusion(dtype = left, shape = shape(left, right))]
    fn float32_product(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self>;
}

#[cfg(feature = "tune")]
fn shape(left: &Shape, right: &Shape) -> Shape {
    let mut shape = left.clone();
    shape[left.rank() - 1] = right[right.rank() - 1];
    shape
}

impl Float32 for CubeBackend {
    fn float32_product(left: CubeTensor, right: CubeTensor) -> CubeTensor {
        if left.dtype != DType::F32 {
            return Self::float_matmul(left, right);
        }
        let rank = left.shape().rank();
        let [rows, depth] = [left.shape()[rank - 2], left.shape()[rank - 1]];
        let columns = right.shape()[rank - 1];
        // A right operand is read about a fifth faster by rows, and a weight is small beside what it multiplies.
        let right = if rank == 2 && is_transposed(&right) {
            into_contiguous(right)
        } else {
            right
        };
        let hardware = &left.client.properties().hardware;
        let processors = hardware.num_streaming_multiprocessors.unwrap_or(1) as usize;
        let parts = match rank {
            2 => parts([rows, depth, columns], processors),
            _ => 1,
        };
        if parts == 1 {
            return launch(left, right);
        }
        let sums = launch(split(left, 1, parts), split(right, 0, parts));
        let sum = Self::float_sum_dim(sums, 0);
        Self::float_reshape(sum, Shape::new([rows, columns]))
    }
}

/// Rows and columns of the output that a processor computes at a time, as cubek 0.3 chooses them for these kernels.
fn tile(rows: usize) -> [usize; 2] {
    [if rows < 512 { 128 } else { 256 }, 128]
}

/// Into how many parts of its depth a product is cut, so that a small output with a long sum keeps every processor at
/// work: the number that takes least time, by the products of the fullest processor and the elements that the sums of
/// the parts move.
fn parts([rows, depth, columns]: [usize; 3], processors: usize) -> usize {
    const LEAST_DEPTH: usize = 128;
    /// Elements that an H100's memory moves in the time in which one of its processors multiplies and adds once.
    const ELEMENTS_PER_PRODUCT: usize = 9;
    let [tile_rows, tile_columns] = tile(rows);
    let tiles = rows.div_ceil(tile_rows) * columns.div_ceil(tile_columns);
    let time = |parts: &usize| {
        let tiles = (tiles * parts).div_ceil(processors);
        let products = tiles * tile_rows * tile_columns * (depth / parts);
        let moved = if *parts == 1 { 0 } else { 2 * parts + 1 } * rows * columns;
        products * ELEMENTS_PER_PRODUCT + moved
    };
    let fits = |parts: &usize| depth.is_multiple_of(*parts) && depth / parts >= LEAST_DEPTH;
    let powers = (0..usize::BITS).map(|power| 1 << power);
    powers.take_while(fits).min_by_key(time).unwrap_or(1)
}

/// Cuts an axis of a matrix into parts. Shapes: `[rows, columns] -> [parts, rows, columns]`, less of `axis`.
fn split(matrix: CubeTensor, axis: usize, parts: usize) -> CubeTensor {
    let is_transposed = is_transposed(&matrix);
    let (matrix, axis) = if is_transposed {
        (CubeBackend::float_transpose(matrix), 1 - axis)
    } else {
        (matrix, axis)
    };
    let [rows, columns] = matrix.shape().dims();
    let split = match axis {
        0 => CubeBackend::float_reshape(matrix, Shape::new([parts, rows / parts, columns])),
        _ => {
            let split =
                CubeBackend::float_reshape(matrix, Shape::new([rows, parts, columns / parts]));
            CubeBackend::float_swap_dims(split, 0, 1)
        }
    };
    if is_transposed {
        CubeBackend::float_transpose(split)
    } else {
        split
    }
}

/// Whether the columns of a matrix lie together instead of its rows.
fn is_transposed(matrix: &CubeTensor) -> bool {
    let strides = matrix.meta.strides();
    strides[0] < strides[1]
}

/// One kernel without tensor cores.
fn launch(left: CubeTensor, right: CubeTensor) -> CubeTensor {
    let output = init_matmul_output(&left, &right, DType::F32);
    let shape = output.shape();
    let is_small = shape.iter().rev().take(2).all(|size| *size <= 64);
    let tile_size = if is_small {
        TileSizeSelection::MinTileSize
    } else {
        TileSizeSelection::MaxTileSize
    };
    let unit = BlueprintStrategy::Inferred(SimpleUnitSelectionArgs { tile_size });
    let float32 = dtype_to_storage_type(DType::F32);
    let run = |strategy| {
        launch_ref(
            &Strategy::MultiLevel(strategy),
            &output.client,
            InputBinding::new(left.clone().binding(), float32),
            InputBinding::new(right.clone().binding(), float32),
            output.clone().binding(),
            &mut MatmulElems::from_globals(&MatmulGlobalElems {
                lhs: float32,
                rhs: float32,
                out: float32,
            }),
        )
    };
    // The second takes whatever the first does not.
    run(multi_level::Strategy::SimpleUnit(unit))
        .or_else(|_| run(multi_level::Strategy::Naive))
        .expect("shapes that fit");
    output
}

impl<B: Float32, C: CheckpointStrategy> Float32 for Autodiff<B, C> {
    fn float32_product(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Product;

        impl<B: Float32> Backward<B, 2> for Product {
            type State = [Option<NodeId>; 2];

            fn backward(
                self,
                ops: Ops<Self::State, 2>,
                gradients: &mut Gradients,
                checkpointer: &mut Checkpointer,
            ) {
                let [left, right] = ops.state.map(|kept| {
                    let kept = kept.map(|kept| checkpointer.retrieve_node_output(kept));
                    kept.map(B::float_transpose)
                });
                binary::<B, _, _>(
                    ops.parents,
                    ops.node,
                    gradients,
                    |gradient| B::float32_product(gradient, right.expect("kept for the left")),
                    |gradient| B::float32_product(left.expect("kept for the right"), gradient),
                );
            }
        }

        let nodes = [left.node(), right.node()];
        match Product.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::UnTracked(op) => op.finish(B::float32_product(
                left.into_primitive(),
                right.into_primitive(),
            )),
            OpsKind::Tracked(mut op) => {
                // Each is kept for the other's gradient.
                let kept = [(&left, &right), (&right, &left)]
                    .map(|(tensor, other)| other.is_tracked().then(|| op.checkpoint(tensor)));
                let product = B::float32_product(left.into_primitive(), right.into_primitive());
                op.finish(kept, product)
            }
        }
    }
}
