"""The public API as a user's editor sees it: type-checked with mypy --strict, never run.

Each `type: ignore` is a test too: mypy reports it as unused once the mistake on its line is no longer found.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastnn
import fastnn as tf
from fastnn.keras import layers
from fastnn.keras.layers import Dense
from fastnn.keras.models import load_model
from fastnn.keras.optimizers.schedules import CosineDecay

x = np.zeros((8, 4), np.float32)
y = np.zeros(8, np.int32)

model = fastnn.Sequential(
    [
        fastnn.layers.Dense(16, activation="relu", input_shape=(4,)),
        fastnn.layers.Dense(3, kernel_initializer=fastnn.initializers.HeNormal(seed=1), use_bias=False),
        fastnn.layers.Activation("softmax"),
    ]
)
model.compile(
    optimizer=fastnn.optimizers.Adam(learning_rate=1e-3),
    loss=fastnn.losses.SparseCategoricalCrossentropy(),
    metrics=["accuracy"],
)
history: fastnn.callbacks.History = model.fit(x, y, epochs=2, batch_size=4, validation_split=0.25, verbose=0)
losses: list[float] = history.history["loss"]
probabilities: NDArray[Any] = model.predict(x)
weights: list[NDArray[Any]] = model.get_weights()
count: int = model.count_params()
dense = fastnn.layers.Dense(2, kernel_regularizer="l2", activity_regularizer=fastnn.regularizers.L1(0.1))
penalties: list[fastnn.regularizers.Regularizer | None] = [dense.kernel_regularizer, dense.activity_regularizer]
constraint: fastnn.constraints.Constraint | None = dense.bias_constraint
fastnn.layers.LayerNormalization(name="norm", dtype="float32", input_shape=(4,), activity_regularizer="l2")
fastnn.layers.LayerNormalization(nam="norm")  # type: ignore[call-arg]
fastnn.layers.Flatten(activity_regularizer="l2")  # type: ignore[call-arg]
fastnn.layers.Heads({"a": []}, input_shape=(4,))  # type: ignore[call-arg]
fastnn.optimizers.AdamW(0.1, clipnorms=1.0)  # type: ignore[call-arg]
config: dict[str, Any] = model.get_config()
columns: tuple[str, ...] | None = model.feature_names
model.feature_names = ["a", "b", "c", "d"]
model.feature_names = None
same: fastnn.Sequential = fastnn.Sequential.from_config(config)
model.save("model.fastnn")
loaded: fastnn.Sequential = fastnn.load_model("model.fastnn")
moved: fastnn.Sequential = fastnn.load_keras("model.keras", custom_objects={}, compile=False)
brought: fastnn.Sequential = fastnn.load_torch("net.safetensors", activation="relu")
head: tuple[fastnn.Sequential, tuple[str, ...] | None] = fastnn.load_transformers_head("checkpoint")
modules: str = model.export_torch("net.safetensors")
one_hot: NDArray[Any] = fastnn.utils.to_categorical(y, 3)

trainable: list[NDArray[Any]] = model.trainable_variables
again: fastnn.regularizers.L2 = fastnn.regularizers.L2.from_config({"l2": 0.1})

# Keras's paths lead to the same classes.
stack: fastnn.Sequential = tf.keras.Sequential([Dense(2), layers.Dropout(0.1), tf.keras.layers.Dense(1)])
plain: fastnn.layers.Dense = Dense(2, kernel_regularizer=tf.keras.regularizers.l2(0.1))
schedule: fastnn.optimizers.schedules.LearningRateSchedule = CosineDecay(0.1, 100)
stored: fastnn.Sequential = load_model("model.fastnn")
stored = fastnn.models.load_model("model.fastnn")

layers.Conv2D(3)  # type: ignore[attr-defined]
tf.keras.layers.LSTM(3)  # type: ignore[attr-defined]
fastnn.losses.mean_squared_error(x, x)  # type: ignore[attr-defined]
model.fit_generator(x)  # type: ignore[attr-defined]
model.fit(x, y, epochs="ten")  # type: ignore[arg-type]
fastnn.layers.Dense("many")  # type: ignore[arg-type]
fastnn.optimizers.Adam(rate=0.1)  # type: ignore[call-arg]
dense.kernel_regulariser()  # type: ignore[attr-defined]
model.count_parameters()  # type: ignore[attr-defined]
