"""Names of Keras that fastnn lacks, with what to do instead: for sentences of errors, and rows of docs/keras.md."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import NamedTuple


class Row(NamedTuple):
    """Names of Keras that have no meaning here.

    Attributes
    ----------
    names : str
        The names, separated by blanks; in names of modules ``*`` stands for any characters. Names of older versions and
        of TensorFlow are among them.
    instead : str
        What takes the place of the names here, in Markdown, ``"—"`` where nothing does. Where it lists as many items as
        there are names, the n-th item is for the n-th name.
    note : str
        A remark, in Markdown.
    """

    names: str
    instead: str
    note: str


_BY_GET = Row("deserialize", "`get`", "takes the dict")
_NO_VARIABLES = "the engine holds all state: there are no variables to add, assign or list"
_OBJECTS = "custom losses and metrics are given when a file is read: `load_model(path, custom_objects={...})`"
_CONVOLUTIONS = "no convolutions here: PyTorch and Keras have them"
_GRAPHS = "no free graphs of layers here: PyTorch and Keras have them"
_PENALTIES = "penalties are arguments of layers: `kernel_regularizer`, `activity_regularizer`"
_FUNCTIONS = (
    "in `compile` the same name as a string; to compute one, call an instance: `losses.Huber()(y_true, y_pred)`"
)
_NO_TENSORS = "no symbolic tensors here: arrays are NumPy's, gradients come from `forward` and `backward`"

# The rows by area: a module without the name of the package (the package itself is "keras"), or a class.
AREAS: dict[str, tuple[Row, ...]] = {
    "keras": (
        Row(
            "Initializer Layer Loss Metric Optimizer Regularizer",
            "`fastnn.initializers.Initializer`, `fastnn.layers.Layer`, `fastnn.losses.Loss`, `fastnn.metrics.Metric`, "
            "`fastnn.optimizers.Optimizer`, `fastnn.regularizers.Regularizer`",
            "in their packages",
        ),
        Row("version", "`fastnn.__version__`", ""),
        Row("mixed_precision dtype_policies DTypePolicy FloatDTypePolicy", "`fastnn.config`", "policies are strings"),
        Row("random", "`fastnn.utils`", "`set_random_seed`; for random arrays NumPy"),
        Row("Model Functional", "`Sequential`", "with `Branches`, `Heads` and `Residual`; free graphs: PyTorch, Keras"),
        Row("ops backend math constant GradientTape Variable convert_to_tensor function", "—", _NO_TENSORS),
        Row("Function KerasTensor InputSpec Operation StatelessScope SymbolicScope name_scope tree", "—", _NO_TENSORS),
        Row("data io", "—", "`fit` takes generators, memory maps and any object with `__len__` and `__getitem__`"),
        Row("nn", "`fastnn.activations`", "or `fastnn.losses`"),
        Row(
            "device distribution distribute remat RematScope",
            "`fastnn.num_threads`, `fastnn.distributed.data_parallel`",
            "no GPUs; several machines over MPI",
        ),
        Row(
            "quantizers Quantizer export distillation lite saved_model",
            "`fastnn.Sequential.freeze`",
            "gives a `Predictor`",
        ),
        Row("applications preprocessing visualization wrappers estimator", "—", "dense networks alone: Keras has them"),
    ),
    "layers": (
        Row("Add add", "`Residual`", "y = x + f(x), for f a stack of layers"),
        Row("Concatenate concatenate", "`Branches`", "inputs joined, each through layers of its own"),
        Row("Identity", "`Activation`", '`Activation("linear")`'),
        Row(
            "Average average Maximum maximum Minimum minimum Multiply multiply Subtract subtract Dot dot", "—", _GRAPHS
        ),
        Row(
            "GroupNormalization SpectralNormalization",
            "`LayerNormalization`",
            "or the constraint `UnitNorm`",
        ),
        Row("EinsumDense ReversibleEmbedding", "`Dense`, `Embedding`", ""),
        Row("ThresholdedReLU", "`ReLU`", "`ReLU(threshold=...)`"),
        Row("DenseFeatures", "`Branches`", "of the columns of a data frame"),
        Row(
            "Lambda Wrapper InputSpec",
            "—",
            "no Python inside a model: compute columns before, or write a loop with `forward` and `backward`",
        ),
        Row("Permute RepeatVector", "—", "change x with NumPy"),
        Row(
            "TextVectorization Hashing HashedCrossing",
            "—",
            "`TfidfVectorizer`, `HashingVectorizer` and `FeatureHasher` of scikit-learn give sparse rows that a first "
            "`Dense` reads",
        ),
        Row(
            "Conv* DepthwiseConv* SeparableConv* *Pool* Cropping* ZeroPadding* UpSampling* SpatialDropout*",
            "—",
            _CONVOLUTIONS,
        ),
        Row(
            "*RNN* LSTM* GRU* *LSTM *GRU Bidirectional TimeDistributed Masking",
            "—",
            "no recurrence here: PyTorch and Keras have it; or make the last steps columns of a row",
        ),
        Row("*Attention", "—", "no attention here: PyTorch and JAX have it"),
        Row(
            "Random* RandAugment AugMix AutoContrast CenterCrop ContrastLimitedAdaptiveHistogramEqualization CutMix "
            "Equalization MaxNumBoundingBoxes MixUp Pipeline Resizing Solarization",
            "—",
            "change images in a generator that `fit` reads",
        ),
        Row("MelSpectrogram STFTSpectrogram", "—", "`scipy.signal` makes spectrograms, whose rows `fit` reads"),
        Row(
            "FlaxLayer JaxLayer TFSMLayer TorchModuleWrapper", "—", "layers of other libraries stay in those libraries"
        ),
    ),
    "activations": (
        Row(
            "hard_shrink soft_shrink tanh_shrink sparse_plus sparse_sigmoid sparsemax threshold",
            "—",
            "the engine has no such function: `relu`, `softplus` and `softmax` are near",
        ),
    ),
    "initializers": (
        _BY_GET,
        Row("STFT STFTInitializer stft", "—", _CONVOLUTIONS),
    ),
    "regularizers": (
        _BY_GET,
        Row("l1l2", "`L1L2`", ""),
    ),
    "constraints": (
        _BY_GET,
        Row("maxnorm nonneg unitnorm", "`MaxNorm`, `NonNeg`, `UnitNorm`", ""),
    ),
    "optimizers": (
        _BY_GET,
        Row("Ftrl Lamb ScheduleFreeAdamW", "`Adagrad`, `AdamW`, `AdamW`", "the nearest there is"),
        Row("MultiOptimizer OptimizerMap", "—", "rates by layer: `layer.learning_rate_multiplier`"),
        Row("LossScaleOptimizer", "—", "bfloat16 needs no scaled loss"),
        Row("legacy experimental", "—", "there is one kind of optimizers: `fastnn.optimizers.Adam` and its kin"),
    ),
    "optimizers.schedules": (Row("get", "`deserialize`", ""),),
    "Optimizer": (
        Row(
            "apply apply_gradients stateless_apply update_step minimize get_gradients",
            "`fastnn.Sequential.apply_gradients`",
            "the model's: `model.apply_gradients()`, after `forward` and `backward`",
        ),
        Row(
            "load_own_variables save_own_variables set_weights get_weights weights",
            "`fastnn.Sequential.save`",
            "the model's file holds the optimizer's state",
        ),
        Row(
            "build add_variable add_variable_from_reference add_optimizer_variables assign assign_add assign_sub "
            "scale_loss",
            "—",
            _NO_VARIABLES,
        ),
        Row(
            "decay",
            "`fastnn.optimizers.schedules.InverseTimeDecay`",
            "as the learning rate; weight decay is another thing",
        ),
    ),
    "losses": (
        _BY_GET,
        Row(
            "binary_crossentropy binary_focal_crossentropy categorical_crossentropy categorical_focal_crossentropy "
            "categorical_hinge cosine_similarity dice hinge huber kl_divergence log_cosh mean_* poisson "
            "sparse_categorical_crossentropy squared_hinge tversky mse mae mape msle kld logcosh",
            "—",
            _FUNCTIONS,
        ),
        Row("CTC ctc", "—", "no sequences here: PyTorch has CTC"),
        Row(
            "Circle circle CategoricalGeneralizedCrossEntropy categorical_generalized_cross_entropy",
            "`FunctionLoss`",
            "a function of your own, which returns the loss and its gradient",
        ),
        Row("Reduction", "—", 'a string: `reduction="sum"`'),
    ),
    "Loss": (Row("call dtype", "—", "call the loss itself: `loss(y_true, y_pred)`, in float64"),),
    "metrics": (
        _BY_GET,
        Row(
            "Accuracy BinaryIoU OneHotIoU",
            "`SparseCategoricalAccuracy`, `IoU`, `IoU`",
            '`"accuracy"` becomes the one that fits',
        ),
        Row("Mean Sum MeanMetricWrapper MeanTensor MeanRelativeError", "—", "NumPy, over what `predict` gives"),
        Row(
            "ConcordanceCorrelation concordance_correlation PearsonCorrelation pearson_correlation",
            "—",
            "`scipy.stats.pearsonr`, over what `predict` gives",
        ),
        Row(
            "binary_* categorical_* sparse_* hinge huber kl_divergence log_cosh mean_* poisson squared_hinge "
            "top_k_categorical_accuracy mse mae mape msle",
            "—",
            "in `compile` the same name as a string; to compute one, call an instance: "
            "`metrics.BinaryAccuracy()(y_true, y_pred)`",
        ),
    ),
    "Metric": (
        Row(
            "variables add_variable stateless_reset_state stateless_result stateless_update_state",
            "—",
            "`update_state`, `result` and `reset_state` keep the numbers",
        ),
        Row("reset_states", "`reset_state`", ""),
        Row("dtype", "—", "metrics are float64"),
    ),
    "callbacks": (
        Row("ProgbarLogger", "—", "`fit` shows a bar: `verbose=1`"),
        Row("OrbaxCheckpoint", "`ModelCheckpoint`", ""),
        Row("RemoteMonitor", "`LambdaCallback`", "with a function that posts the logs"),
        Row("experimental BaseLogger", "—", "`BackupAndRestore` and `History` are here"),
    ),
    "Sequential": (
        Row("dtype_policy compute_dtype variable_dtype input_dtype", "`dtype`", ""),
        Row("to_yaml", "`to_json`", ""),
        Row("call stateless_call symbolic_call rematerialized_call", "`forward`", ""),
        Row(
            "fit_generator evaluate_generator predict_generator",
            "`fit`, `evaluate`, `predict`",
            "they take generators",
        ),
        Row("predict_classes predict_proba", "`predict`", "classes are `predict(x).argmax(axis=1)`"),
        Row(
            "train_step test_step predict_step make_train_function make_test_function make_predict_function "
            "compute_loss compute_metrics stateless_compute_loss compiled_loss compiled_metrics",
            "`backward`",
            "a loop of your own: `forward`, `backward`, `apply_gradients`",
        ),
        Row(
            "export get_state_tree set_state_tree",
            "`freeze`",
            "a `fastnn.Predictor`, for Python, Cython and C",
        ),
        Row(
            "add_metric metrics metrics_variables get_metrics_result reset_metrics",
            "—",
            "metrics are named in `compile`; the logs and `evaluate` hold their values",
        ),
        Row("add_loss losses", "—", _PENALTIES),
        Row("add_weight add_variable load_own_variables save_own_variables", "—", _NO_VARIABLES),
        Row("save_model", "`save`", ""),
        Row(
            "build_from_config get_build_config compute_mask compute_output_shape compute_output_spec supports_masking "
            "input inputs input_spec output outputs path",
            "—",
            "no symbolic tensors and no masks here: `input_shape`, `output_shape` and `summary` tell the shapes",
        ),
        Row(
            "jit_compile run_eagerly distribute_reduction_method distribute_strategy",
            "—",
            "the engine is compiled beforehand; several machines: `fastnn.distributed.data_parallel`",
        ),
        Row(
            "quantize quantized_build quantized_call quantization_mode get_quantization_layer_structure",
            "—",
            'no integers inside: `fastnn.config.set_dtype_policy("mixed_bfloat16")` is the fast policy',
        ),
    ),
    "Layer": (
        Row("from_config", "`fastnn.layers.deserialize`", "takes `serialize(layer)`"),
        Row(
            "call stateless_call symbolic_call rematerialized_call quantized_call",
            "—",
            "a layer describes, a model computes: `Sequential([Input((4,)), layer])(x)`",
        ),
        Row("add_loss losses", "—", _PENALTIES),
        Row("add_metric metrics metrics_variables", "—", "metrics are named in `compile`"),
        Row("add_weight add_variable load_own_variables save_own_variables", "—", _NO_VARIABLES),
        Row("dtype_policy variable_dtype compute_dtype input_dtype", "`dtype`", ""),
        Row(
            "build_from_config get_build_config compute_mask compute_output_shape compute_output_spec supports_masking "
            "input input_shape input_spec output output_shape path",
            "—",
            "no symbolic tensors and no masks here: the model's `summary` tells the shapes",
        ),
        Row(
            "quantize quantized_build quantization_mode",
            "—",
            'no integers inside: `fastnn.config.set_dtype_policy("mixed_bfloat16")` is the fast policy',
        ),
    ),
    "models": (
        Row("model_from_yaml", "`model_from_json`", ""),
        Row("Model Functional", "`Sequential`", "with `Branches`, `Heads` and `Residual`; free graphs: PyTorch, Keras"),
    ),
    "saving": (
        Row("save_weights", "`fastnn.Sequential.save_weights`", "the model's: `model.save_weights(path)`"),
        Row(
            "serialize_keras_object deserialize_keras_object",
            "`fastnn.layers.serialize`, `fastnn.layers.deserialize`",
            "and those of each package",
        ),
        Row(
            "CustomObjectScope custom_object_scope get_custom_objects get_registered_name get_registered_object "
            "register_keras_serializable",
            "—",
            _OBJECTS,
        ),
        Row("KerasFileEditor", "—", "any reader of safetensors opens a model's file"),
    ),
    "utils": (
        Row("PyDataset Sequence", "`fastnn.Sequential.fit`", "takes any object with `__len__` and `__getitem__`"),
        Row("normalize", "`fastnn.layers.Normalization`", "or NumPy"),
        Row("split_dataset", "`fastnn.Sequential.fit`", "`validation_split`"),
        Row(
            "FeatureSpace",
            "`fastnn.layers.Branches`",
            "with `Normalization`, `StringLookup`, `Discretization` in the branches",
        ),
        Row("clear_session", "—", "nothing is kept that would have to be cleared"),
        Row("plot_model model_to_dot", "`fastnn.Sequential.plot`", ""),
        Row("Progbar", "—", "tqdm draws bars"),
        Row("np_utils", "`to_categorical`", ""),
        Row(
            "*_dataset_from_directory timeseries_dataset_from_array load_img save_img img_to_array array_to_img "
            "pad_sequences get_file bounding_boxes",
            "—",
            "Pillow and NumPy make arrays of files",
        ),
        Row(
            "CustomObjectScope custom_object_scope get_custom_objects get_registered_name get_registered_object "
            "register_keras_serializable serialize_keras_object deserialize_keras_object",
            "—",
            _OBJECTS,
        ),
        Row("*_interactive_logging is_interactive_logging_enabled", "—", "each call says it for itself: `verbose=`"),
        Row(
            "is_keras_tensor get_source_inputs standardize_dtype pack_x_y_sample_weight "
            "unpack_x_y_sample_weight Config",
            "—",
            "no symbolic tensors here: arrays are NumPy's",
        ),
    ),
    "config": (
        Row("backend set_backend", "—", "there is one backend, the engine"),
        Row("epsilon set_epsilon", "—", "it is 1e-7, as by default in Keras"),
        Row(
            "image_data_format set_image_data_format *flash_attention* is_nnx_enabled",
            "—",
            "dense networks alone, whose rows have one axis",
        ),
        Row(
            "max_epochs set_max_epochs max_steps_per_epoch set_max_steps_per_epoch",
            "—",
            "`epochs` and `steps_per_epoch` of `fit`",
        ),
        Row(
            "*_interactive_logging is_interactive_logging_enabled *traceback_filtering*",
            "—",
            "each call says it for itself: `verbose=`",
        ),
        Row("enable_unsafe_deserialization", "—", "nothing in a model's file is ever executed"),
        Row("list_physical_devices threading experimental", "`fastnn.num_threads`", "no GPUs"),
    ),
    "mixed_precision": (
        Row("dtype_policy global_policy", "`fastnn.config.dtype_policy`", ""),
        Row("set_dtype_policy set_global_policy", "`fastnn.config.set_dtype_policy`", ""),
        Row("DTypePolicy Policy", "—", "policies are strings"),
        Row("LossScaleOptimizer", "—", "bfloat16 needs no scaled loss"),
    ),
    "random": (
        Row(
            "SeedGenerator beta binomial categorical dropout gamma normal randint shuffle truncated_normal uniform",
            "—",
            "NumPy; initializers called by themselves give arrays",
        ),
    ),
    "datasets": (
        Row(
            "mnist fashion_mnist cifar10 cifar100 imdb reuters boston_housing california_housing",
            "`fastnn.datasets.load_digits`",
            "the one that comes along; nothing is downloaded",
        ),
    ),
}


def instead_of(area: str, name: str) -> str:
    """Return what to do instead of a name of Keras, as the end of a message; empty where nothing is known."""
    for names, instead, note in AREAS.get(area, ()):
        words = names.split()
        place = next((k for k, word in enumerate(words) if fnmatchcase(name, word)), None)
        if place is None:
            continue
        found = re.findall("`([^`]+)`", instead)
        plain = note.replace("`", "")
        if not found:
            return plain
        take = f"take {found[place] if len(found) == len(words) else ' or '.join(found)}"
        return f"{take} ({plain})" if plain else take
    return ""
