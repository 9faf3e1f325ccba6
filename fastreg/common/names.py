"""What Keras, scikit-learn and PyTorch call things: the one table of their names.

A name that has exactly one meaning here is understood (`ALIASES`). For others an error says what to use (`ADVICE`).
Case, underscores and hyphens do not count. Both tables are by the argument or the class that a name is given to.
"""

from __future__ import annotations

import opcode
import sys
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

LONGEST = 120  # characters of a name that is compared


def plain(name: str) -> str:
    """A name without case, underscores and hyphens, which do not count."""
    return name.replace("_", "").replace("-", "").casefold()


def _aliases(text: str) -> dict[str, str]:
    """Lines "own: other, other" as a dict of the others."""
    rows = (line.partition(":") for line in text.splitlines() if line.strip())
    return {plain(other.strip()): own.strip() for own, _, others in rows for other in others.split(",")}


def _advice(text: str) -> dict[str, str]:
    """Lines "other, other", and below them, indented, what to do, as a dict of the others."""
    found: dict[str, str] = {}
    others, told = "", ""
    for line in [*filter(str.strip, textwrap.dedent(text).splitlines()), "end"]:
        if line.startswith(" "):
            told = f"{told} {line.strip()}".lstrip()
            continue
        if told:
            found |= {plain(other.strip()): told for other in others.split(",")}
            others = told = ""
        others = f"{others} {line}".strip()
    return found


ALIASES: dict[str, dict[str, str]] = {
    "loss": _aliases("""
        softmax_cross_entropy: cross_entropy, CrossEntropyLoss, categorical_crossentropy, categorical_cross_entropy
        softmax_cross_entropy: sparse_categorical_crossentropy, sparse_categorical_cross_entropy, softmax, multinomial
        sigmoid_cross_entropy: binary_crossentropy, binary_cross_entropy, bce, BCELoss, BCEWithLogitsLoss
        sigmoid_cross_entropy: bce_with_logits, binary_cross_entropy_with_logits, binary_logloss, logistic
        mse: mean_squared_error, squared_error, MSELoss, l2, l2_loss
        mae: mean_absolute_error, absolute_error, L1Loss, l1
        huber: HuberLoss
        quantile: pinball, pinball_loss
        log_cosh: logcosh
        poisson: PoissonNLLLoss, poisson_nll_loss, poisson_nll, count_poisson
        softmax_focal: CategoricalFocalCrossentropy, categorical_focal_crossentropy
        sigmoid_focal: BinaryFocalCrossentropy, binary_focal_crossentropy, sigmoid_focal_loss
        categorical_hinge: multiclass_hinge, crammer_singer
    """),
    "optimizer": _aliases("""
        sgd: gradient_descent, momentum_sgd
        adam: AdamOptimizer
    """),
    "activation": _aliases("""
        linear: identity, none
        relu: rectifier
        sigmoid: logistic, expit
        silu: swish
        gelu_tanh: gelu_new, gelu_approximate, gelu_pytorch_tanh
        hard_swish: hard_silu
    """),
    "initializer": _aliases("""
        glorot_uniform: xavier_uniform
        glorot_normal: xavier_normal
        he_normal: kaiming_normal
        he_uniform: kaiming_uniform
        zeros: zero
        normal: random_normal
        uniform: random_uniform
    """),
    "layers": _aliases("""
        dense: Linear, fully_connected
        batch_norm: BatchNorm1d, BatchNorm2d
        layer_norm: LayerNormalization
    """),
    "callbacks": _aliases("""
        checkpoint: ModelCheckpoint
        reduce_on_plateau: ReduceLROnPlateau
        lr_scheduler: LearningRateScheduler
    """),
    "lr": _aliases("""
        cosine: CosineDecay, CosineAnnealingLR
        exponential: ExponentialLR, ExponentialDecay
        step: StepLR
        one_cycle: OneCycleLR
    """),
    "monitor": _aliases("""
        val_accuracy: val_acc, valid_accuracy, valid_acc, validation_accuracy
        val_loss: valid_loss, validation_loss
        accuracy: acc, train_accuracy, train_acc, training_accuracy
        loss: train_loss, training_loss
    """),
    "hook": _aliases("""
        on_batch_begin: on_train_batch_begin, on_train_batch_start, on_batch_start, on_step_begin
        on_batch_end: on_train_batch_end, on_step_end, on_after_batch
        on_epoch_begin: on_epoch_start, on_train_epoch_start
        on_epoch_end: on_train_epoch_end, on_validation_end, on_validation_epoch_end
        on_train_begin: on_train_start, on_fit_start, on_fit_begin
        on_train_end: on_fit_end
    """),
    "Embedding()": _aliases("""
        categories: input_dim, num_embeddings
        width: output_dim, embedding_dim
    """),
    "engine": _aliases("""
        native: c, cpu
        reference: numpy
    """),
    # keywords of any constructor or function that has the argument on the left
    "keyword": _aliases("""
        lr: learning_rate, learning_rate_init, eta
        epochs: nb_epoch, n_epochs, num_epochs, max_epochs, max_iter, nepochs
        batch_size: batch, batchsize, minibatch_size
        seed: random_state, random_seed
        threads: n_jobs, n_threads, num_threads, workers
        class_weight: class_weights
        sample_weight: sample_weights, weights
        validation_data: validation_set, eval_set, val_data, valid_data
        callbacks: callback
        verbose: verbosity
        optimizer: solver
        loss: criterion, loss_function, loss_fn, objective
        metrics: metric
        clip_norm: global_clipnorm, max_grad_norm, grad_clip, gradient_clip_norm, clipnorm
        clip_value: clipvalue, gradient_clip_val
        accumulate: gradient_accumulation_steps, accumulation_steps, accumulate_grad_batches
        weight_decay: wd
        momentum: mu
        nesterov: nesterovs_momentum, use_nesterov
        beta1: beta_1
        beta2: beta_2
        eps: epsilon
        epsilon: eps
        lam: l2, l1, lambda_, lmbda
        k: n_estimators, n_members
        cv: folds, n_folds, k_folds, n_splits
        n_iter: n_trials, max_trials, trials
        builder: base_estimator, estimator, build_fn
        input_shape: input_dim, shape
        alpha: rho
        units: out_features, n_units, num_units, output_dim
        activation: act, activation_function
        use_bias: bias
        weight_init: kernel_initializer, weight_initializer, init
        bias_init: bias_initializer
        rate: p, dropout, drop_prob, dropout_rate
        std: stddev, sigma
        patience: n_iter_no_change
        path: filepath, filename
        log_dir: logdir
        histograms: histogram_freq
        validation: dev
        factor: gamma
        shift: center
        min_delta: tol, threshold
    """),
}

_CUSTOM = "fr.losses.Custom(function) takes any loss written in Python"
_NOT_YET = "fastreg has no such layer"
_PLATEAU = "fr.ReduceOnPlateau() is a callback: fit(..., callbacks=[fr.ReduceOnPlateau()])"
_RATE = "the learning rate is that of the optimizer: optimizer=fr.SGD(0.1)"
_OF_FIT = "it is an argument of fit"
_SHOWN = "leave it out: fit(verbose=1) shows progress, and the history keeps every value"
_FUNCTION = "fr.Function(forward, backward) is a layer written in Python"
_TRAINER = "a trainer fits a model: fr.Trainer(model, loss=..., optimizer=...).fit(X, y)"
ADVICE: dict[str, dict[str, str]] = {
    "loss": _advice(f"""
        log_loss, logloss, logits
            use 'softmax_cross_entropy' for one of several classes, 'sigmoid_cross_entropy' for yes or
            no
        HingeLoss, MultiMarginLoss, svm
            use 'categorical_hinge' for one of several classes, 'hinge' for yes or no
        squared_hinge
            use 'hinge(squared=True)'
        focal, focal_loss, FocalLoss, focal_crossentropy, focal_cross_entropy
            use 'softmax_focal' for one of several classes, 'sigmoid_focal' for yes or no
        nll, NLLLoss, nll_loss
            the nearest is 'softmax_cross_entropy', which takes outputs before any softmax
        kl_divergence, KLDivLoss, kld, cosine_similarity
            {_CUSTOM}
        rmse, root_mean_squared_error
            the nearest is 'mse', whose minimum is at the same place
        r2
            it is a metric; the nearest loss is 'mse'
        accuracy, auc, roc_auc, f1
            it is a metric, not a loss; the nearest loss is 'softmax_cross_entropy'
        msle, mean_squared_logarithmic_error
            the nearest is 'mse' on np.log1p(y)
        smooth_l1, SmoothL1Loss
            the nearest is 'huber'
        sgd, adam, adamw, rmsprop, nadam
            it is an optimizer, which comes after: fr.Trainer(model, loss, optimizer)
    """),
    "optimizer": _advice("""
        nesterov, nag
            use 'sgd(momentum=0.9, nesterov=True)'
        momentum
            use 'sgd(momentum=0.9)'
        adagrad, adadelta, ftrl
            the nearest is 'rmsprop'
        adamax, amsgrad, radam, adabelief, adafactor, lamb
            the nearest is 'adam'
        lbfgs, bfgs, newton, rprop
            fastreg trains by batches; the nearest is 'adam'
        muon, signsgd, sign_sgd
            the nearest is 'lion'
        mse, mae, cross_entropy, categorical_crossentropy, sparse_categorical_crossentropy, binary_crossentropy,
        softmax_cross_entropy, sigmoid_cross_entropy
            it is a loss, which comes before: fr.Trainer(model, loss, optimizer)
    """),
    "activation": _advice("""
        softmax, log_softmax
            use none in the last layer: the loss 'softmax_cross_entropy' takes logits, and predict gives
            probabilities
        relu6, prelu, threshold, rrelu
            the nearest is 'relu' or 'leaky_relu'
        celu
            the nearest is 'elu'
        hard_sigmoid, log_sigmoid
            the nearest is 'sigmoid'
        hard_tanh, softsign, tanhshrink
            the nearest is 'tanh'
        exponential, exp, square
            fr.Function(forward, backward) after the layer takes any function
    """),
    "initializer": _advice("""
        xavier, glorot
            use 'glorot_normal' or 'glorot_uniform'
        kaiming, he
            use 'he_normal' or 'he_uniform'
        lecun, lecun_uniform
            the nearest is 'lecun_normal'
        truncated_normal
            the nearest is fastreg.initializers.normal(0.05)
        ones, one, constant, eye, identity, orthogonal, orthogonal_, dirac, sparse
            set model.parameters after model.build(...)
    """),
    "layers": _advice(f"""
        BatchNormalization
            'batch_norm' takes momentum= in PyTorch's meaning: Keras's momentum is 1 - this one
        GroupNorm, InstanceNorm, RMSNorm, GroupNormalization, UnitNormalization, RMSNormalization
            {_NOT_YET}; the nearest is 'layer_norm'
        MaxPooling2D
            the nearest is 'max_pool2d'
        Conv1D
            {_NOT_YET}; the nearest is 'conv2d', on inputs of the shape (length, 1, channels)
        LSTM, GRU, RNN, SimpleRNN, Bidirectional, TimeDistributed, Attention, MultiHeadAttention
            {_NOT_YET}
        Multiply, Subtract, Average, Maximum, Minimum, Dot
            {_NOT_YET}; values are joined by fr.Add() and fr.Concatenate()
        Reshape, Permute, RepeatVector, Masking, ZeroPadding2D, Cropping2D, UpSampling2D
            {_NOT_YET}; give X the shape it should have: images are (rows, height, width, channels)
        StringLookup, IntegerLookup, CategoryEncoding, Discretization, Hashing, TextVectorization
            fr.data.infer_schema(table, target=...) makes numbers of texts, as part of the model
        Softmax, LogSoftmax
            leave it out: the loss takes logits, and predict gives probabilities
        ReLU, Sigmoid, Tanh, GELU, LeakyReLU, ELU
            an activation belongs to its layer: fr.Dense(10, activation='relu'); alone it is fr.Activation('relu')
        Input, InputLayer
            leave it out: the shape is found in the data
        Lambda, Module
            {_FUNCTION}
        Normalization, StandardScaler
            fr.data.Standardizer().fit(X) comes first in a model
        AlphaDropout, SpatialDropout1D
            the nearest is 'dropout(rate=0.5)'
    """),
    "callbacks": _advice("""
        BackupAndRestore
            use 'checkpoint(path)', and fit(resume=path)
        ProgbarLogger, tqdm, progress
            use fit(verbose=1)
        History
            fit returns it
    """),
    "augment": _advice("""
        mixup, cutmix
            mixup= is an argument of the trainer: fr.Trainer(model, mixup=0.2)
    """),
    "hook": _advice("""
        on_test_begin, on_test_end, on_test_batch_begin, on_test_batch_end, on_validation_begin,
        on_validation_start, on_validation_epoch_start, on_validation_batch_end
            the values of held-back data are in the logs of on_epoch_end
        on_predict_begin, on_predict_end, on_predict_batch_begin, on_predict_batch_end
            predict calls no hooks
    """),
    "lr": _advice(f"""
        ReduceLROnPlateau, plateau, adaptive
            {_PLATEAU}
        invscaling, InverseTimeDecay, PolynomialDecay, PolynomialLR
            use a function of the epoch: lambda epoch: 0.1 / (epoch + 1) ** 0.5
        CosineDecayRestarts, CosineAnnealingWarmRestarts, CyclicLR
            use a function of the epoch; the nearest is 'cosine'
        PiecewiseConstantDecay, MultiStepLR
            use 'step', or a function of the epoch: lambda epoch: 0.1 if epoch < 10 else 0.01
        constant
            give a number
    """),
    "keyword": _advice(f"""
        learning_rate, lr, learning_rate_init
            {_RATE}
        momentum, nesterov
            {_RATE.replace("the learning rate is", "it is").replace("0.1", "0.1, momentum=0.9")}
        weight_decay
            l2= is the penalty; weight_decay= is an argument of the optimizer, such as fr.AdamW()
        alpha, regularization, reg, reg_lambda, lambda_, reg_alpha
            l2= and l1= are the penalties
        kernel_regularizer, weight_regularizer
            l2= and l1= are penalties on the weights
        bias_regularizer, activity_regularizer
            activity_l1= is a penalty on outputs; biases are never penalized
        kernel_constraint, max_value
            max_norm= limits the norm of the weights of each unit
        input_shape, input_dim, in_features
            leave it out: it is found in the data, or given to model.build(input_shape)
        device, use_gpu, cuda
            leave it out: fastreg runs on CPUs
        hidden_layer_sizes, layers, hidden
            fr.Sequential([fr.Dense(100, "relu"), fr.Dense(10)]) is a model
        early_stopping
            give fit callbacks=[fr.EarlyStopping(patience=10)]
        patience
            it is an argument of fr.EarlyStopping
        decay
            of the rate: a schedule, such as lr=lambda epoch: 0.1 / (1 + epoch); of the weights: weight_decay=
        axis
            leave it out: columns, and channels, are the last axis
        dtype
            it is an argument of the trainer
        bias_constraint
            leave it out: biases have no limits
        batch_shape
            give shape=, that of one sample
        training
            leave it out: dropout is on in fit; model.predict(X, samples=50) leaves it on
        warm_start
            leave it out: another fit continues
        initial_epoch
            leave it out: another fit continues where the last one ended
        steps_per_epoch, validation_steps, drop_last
            leave it out: an epoch is all rows, and the last batch may be smaller
        validation_freq
            leave it out: every epoch is validated
        validation_batch_size
            leave it out: rows of held-back data go through in parts anyway, with the same result
        workers, use_multiprocessing, max_queue_size
            leave it out: threads= is an argument of the trainer
        jit_compile, run_eagerly, steps_per_execution
            leave it out: every step runs in C already
        weighted_metrics
            give metrics=, and fit or evaluate sample_weight=
        input_length, mask_zero
            leave it out: each column of codes becomes its vector
        validation_fraction, validation_size
            give fit validation_split=0.1
        return_X_y, as_frame
            leave it out
        save_best_only
            give save_best=True; the best is beside the path, as NAME.best.safetensors
        save_freq, period
            every= is the number of epochs between two checkpoints
        save_weights_only
            leave it out: a checkpoint holds the optimizer too, and fr.load(path) reads its model
        clipnorm, global_clipnorm, clipvalue, max_grad_norm
            clip_norm= and clip_value= are arguments of the trainer
        use_ema, ema_momentum
            give the trainer averaging=fr.EMA(0.99)
        data_format
            leave it out: images are (height, width, channels)
        dilation_rate, dilation, groups, padding_mode
            fastreg has no such convolution
        append
            leave it out: a resumed fit and further fits of a trainer add lines, another trainer begins the file anew
        line_length, positions, print_fn, expand_nested, show_trainable
            leave it out: print(model.summary())
        restore_best_weights, restore_best, load_best
            leave it out: the best weights are always restored
        baseline
            leave it out
        noise_shape
            per='unit' draws once per column
        affine, elementwise_affine
            give scale= and shift=
        track_running_stats
            leave it out: the running moments are always kept
        num_features, normalized_shape
            leave it out: the width is found in the data
        gamma_initializer, beta_initializer, moving_mean_initializer, moving_variance_initializer
            leave it out: they start at 1 and 0; set model.parameters for others
        betas
            give beta1= and beta2=
        amsgrad, foreach, fused, maximize, capturable, differentiable
            leave it out
        dampening
            leave it out: it is 0
        centered
            leave it out
        from_logits, reduction
            leave it out: losses take logits, and are means
        label_smoothing
            it is an option of the loss: loss=fr.losses.SoftmaxCrossEntropy(label_smoothing=0.1)
        dropout
            a layer: fr.Dropout(rate=0.5)
        generator
            give seed=
        weights_only, map_location, compile, safe_mode, custom_objects
            leave it out: files hold no code; custom= has what is written in Python
        overwrite
            leave it out: an old file is replaced when the new one is complete
        with_mean, with_std
            leave it out: both are done
        return_dict
            leave it out: evaluate returns a dict
        test_size, train_size
            give the share of each part: fr.data.split(X, y, (0.8, 0.2))
        sep, delimiter
            give delimiter=
        epochs, batch_size, shuffle, callbacks, verbose, validation_data, class_weight, sample_weight,
        resume
            {_OF_FIT}
    """),
    "ReduceOnPlateau()": _advice(f"""
        min_delta, epsilon, tol
            give threshold=, the share by which the value has to fall: 1e-3 of it by default
        verbose
            {_SHOWN}
    """),
    **dict.fromkeys(["EarlyStopping()", "Checkpoint()", "LRScheduler()"], _advice(f"verbose\n    {_SHOWN}")),
    **dict.fromkeys(
        ["Dropout()", "GaussianNoise()"], _advice("seed\n    leave it out: the seed is an argument of the trainer")
    ),
    **dict.fromkeys(
        ["Model()", "Sequential()"], _advice("name\n    leave it out: models have no names, layers and heads have")
    ),
    **dict.fromkeys(
        ["evaluate()", "predict()", "predict_proba()", "predict_labels()", "decision_function()"],
        _advice("batch_size\n    leave it out: rows go through in parts anyway, with the same result"),
    ),
    "name": _advice("""
        mnist, fashion_mnist, emnist, kmnist
            fr.data.load_idx_folder(folder) reads its files, as they are published
        cifar10, cifar100, imdb, reuters
            fr.Trainer takes its arrays, whoever reads them
        iris, wine, diabetes, california_housing, boston, boston_housing
            sklearn.datasets has it, as arrays that fastreg takes
    """),
    "History": _advice("""
        epoch
            use history.epochs, counted from 0
        params, model
            they are the trainer's: trainer.model
        losses, loss, accuracy, val_loss, val_accuracy
            a column is history["val_loss"]
        append, items, values, get
            history.to_dict() is a dict
        plot
            use fr.plots.history(history)
    """),
    "Search": _advice("""
        best_estimator, best_model, model
            use search.trainer: the best settings, trained on all rows
        cv_results, results
            search.to_dict() has a column of each value and score
    """),
    "Fits": _advice("""
        best_estimator, best_model, models, estimators
            keep="trainers" keeps them in fits.trainers
        cv_results, results, test_score
            fits.scores has an array of each score
    """),
    "Standardizer": _advice("""
        adapt
            use fit(X)
        mean, variance, var, scale
            after fit they are mean_, var_ and scale_
    """),
    "Trainer": _advice(f"""
        fit_generator, evaluate_generator, predict_generator
            use fit(X, y); X may be a memory map
        predict_on_batch, test_on_batch
            use predict and evaluate
        batch_size, epochs, shuffle, callbacks, verbose, validation_data, class_weight, sample_weight,
        patience, resume
            {_OF_FIT}: trainer.fit(X, y, batch_size=128)
        weight_decay, momentum, nesterov
            it is of the optimizer: trainer.optimizer = fr.SGD(0.1, momentum=0.9)
        alpha, regularization
            trainer.l2 and trainer.l1 are the penalties
        dropout, rate, keep_prob
            it is of a layer: model.layers[1].rate = 0.5
        trainable, activation, max_norm
            it is of a layer: model.layers[0].trainable = False
        device
            fastreg runs on CPUs
        n_jobs, num_threads, n_threads
            set trainer.threads
        random_state
            set trainer.seed
        criterion, loss_fn
            set trainer.loss
        metric_names, metrics_names
            it follows from metrics and loss
        layers, parameters, weights
            it is of the model: trainer.model
        predict_proba, predict_classes
            predict gives probabilities under a cross-entropy; model.predict_labels gives classes
        compile
            the constructor does it
        partial_fit, train_on_batch, step_batch
            another fit continues: trainer.fit(X, y, epochs=1, batch_size=len(X))
        score
            use evaluate
        save
            trainer.model.save(path); fr.Checkpoint(path) saves the training
        optimizer_state
            its arrays can be changed in place; trainer.reset() sets them to 0
    """),
    "Sequential": _advice(f"""
        trainable, requires_grad
            it is of a layer: model.layers[0].trainable = False
        activation, rate, keep_prob, l1, l2, max_norm, lr_scale
            it is of a layer: model.layers[0].activation = 'tanh'
        optimizer, metrics, metrics_names, lr, learning_rate, seed
            {_TRAINER}
        output_shape
            model.layer_shapes(model.input_shape) has the shape before and after each layer
        fit, compile, train_on_batch, history, fit_generator
            {_TRAINER}
        stop_training
            it is of the trainer; in a callback self.trainer.stop_training = True
        count_params
            model.summary() tells it, and fr.summary.sparsity(model) as numbers
        inputs, input_shape
            it is given to model.build(input_shape), or found in the data
        outputs, classes
            it follows from the last layer and the data
        built
            model.build(input_shape) draws parameters
        arena, state
            model.load_state_dict(state) copies parameters in
        weights, coefs_, intercepts_, get_weights, trainable_weights, variables, named_parameters
            model.parameters, a dict of arrays
        set_weights, load_weights
            model.load_state_dict(state), or fr.load(path)
        save_weights
            model.save(path)
        predict_proba
            model.predict gives probabilities under a cross-entropy
        predict_classes
            model.predict_labels
        add, append, pop
            the layers are given whole: fr.Sequential([...])
        eval, train, training
            dropout is on in fit and off everywhere else
        to, cuda, cpu, half, float, double
            model.copy(dtype='float64') makes a model in another dtype
        forward, call
            use model.predict
        score
            use model.evaluate
        get_config, to_json
            use model.config()
        get_layer
            use model.layers['name']
        zero_grad, backward
            trainer.gradients(X, y) gives the gradients
    """),
}
# What is not in the package or its modules, under names that other libraries have.
_AUGMENTATIONS = """
        RandomRotation
            use fr.data.augment.Rotate, as augment= of the trainer
        RandomFlip, RandomHorizontalFlip, RandomVerticalFlip
            use fr.data.augment.Flip, as augment= of the trainer
        RandomTranslation
            use fr.data.augment.Translate, as augment= of the trainer
        RandomZoom, RandomScale
            use fr.data.augment.Resize, as augment= of the trainer
        RandomCrop, RandomResizedCrop
            use fr.data.augment.Crop, as augment= of the trainer
        RandomErasing
            use fr.data.augment.Cutout, as augment= of the trainer
        RandomShear
            use fr.data.augment.Shear, as augment= of the trainer
        RandomAffine, RandomPerspective
            use fr.data.augment.Compose of Rotate, Shear, Resize and Translate, as augment= of the trainer
        RandomContrast, RandomBrightness, ColorJitter
            fastreg only moves pixels: fr.data.augment
        ImageDataGenerator
            fr.data.augment has its transforms; they are augment= of the trainer
"""
_OUTSIDE = f"""
        keras, tensorflow, tf, torch
            the names of fastreg are its own: fr.Sequential, fr.Dense, fr.Trainer
        backend, ops, math, tensor, Variable, constant, convert_to_tensor
            fastreg has no tensors: NumPy's arrays go in and come out
        clone_model
            use model.copy()
        plot_model
            use print(model.summary())
        applications
            fr.from_torch(module) takes over a trained net
        wrappers, KerasClassifier, KerasRegressor, SciKeras
            fr.estimators has MLPClassifier and MLPRegressor
        tuner, keras_tuner, Tuner, Hyperband, GridSearch, RandomSearch
            use fr.grid_search, and fr.random_search, whose factor=3 halves
        mixed_precision, autocast, amp
            use fr.Trainer(..., precision="bfloat16")
        Linear, nn, FullyConnected
            the layer is fr.Dense
        Module, models, Net, MLP
            the model is fr.Sequential([...])
        MLPClassifier, MLPRegressor, LogisticRegression
            it is in fr.estimators, which needs scikit-learn
        Estimator
            fr.Trainer(model) fits a model; fr.estimators has scikit-learn's manners
        MaxPooling2D
            the layer is fr.MaxPool2D
        Conv1D
            {_NOT_YET}; the nearest is fr.Conv2D, on inputs of the shape (length, 1, channels)
        LSTM, GRU, RNN, SimpleRNN, Attention, MultiHeadAttention
            {_NOT_YET}
        GlobalAveragePooling2D
            the layer is fr.GlobalAvgPool2D
        AveragePooling2D
            the layer is fr.AvgPool2D
        BatchNormalization
            the layer is fr.BatchNorm; its momentum is 1 - Keras's
        BatchNorm1d, BatchNorm2d
            the layer is fr.BatchNorm; its momentum is PyTorch's
        ExponentialDecay
            use fr.schedules.Exponential, whose times are epochs
        CosineDecay
            use fr.schedules.Cosine, whose times are epochs
        LayerNormalization
            the layer is fr.LayerNorm
        Softmax, LogSoftmax
            leave it out: the loss takes logits, and predict gives probabilities
        ReLU, Sigmoid, Tanh, GELU, LeakyReLU
            an activation belongs to its layer: fr.Dense(10, activation='relu'); alone it is fr.Activation('relu')
        InputLayer
            leave it out: the shape is found in the data
        Lambda
            {_FUNCTION}
        Normalization
            fr.data.Standardizer().fit(X) comes first in a model
        Rescaling
            fr.data.Standardizer().fit(X) comes first in a model; or divide X
        GaussianDropout
            use fr.Dropout(rate=0.5, kind="gaussian")
        SeparableConv2D, DepthwiseConv2D, Conv2DTranspose, Conv3D
            fastreg has no such layer; the nearest is fr.Conv2D
        L1L2
            use fr.ElasticNet(l1, l2)
        constraints, MaxNorm, max_norm
            max_norm= is an option of layers: fr.Dense(64, "relu", max_norm=3)
        PiecewiseConstantDecay, MultiStepLR
            use fr.schedules.Step, or a function of the epoch: fr.SGD(lambda epoch: 0.1 if epoch < 10 else 0.01)
        PolynomialDecay, InverseTimeDecay, CosineDecayRestarts
            use a function of the epoch: fr.SGD(lambda epoch: 0.1 / (epoch + 1))
        LambdaCallback
            derive from fr.Callback: class Mine(fr.Callback)
        to_categorical
            leave it out: y may be labels
        optim
            use fr.optimizers
        activations, functional, F
            give a name: fr.Dense(64, activation="relu"); fr.layers.ACTIVATIONS has all
        metrics, metric
            use fr.Trainer(..., metrics=['accuracy'])
        datasets, preprocessing, DataLoader, Dataset
            use fr.data
        train_test_split
            use fr.data.split(X, y, (0.8, 0.2))
        StandardScaler
            use fr.data.Standardizer
        utils
            splits and files are in fr.data; in place of set_random_seed give the trainer seed=0; in place of
            to_categorical, y may be labels
        regularizers
            use fr.L1, fr.L2 and fr.ElasticNet
        set_seed, set_random_seed, manual_seed, random, seed
            use fr.Trainer(..., seed=0): nothing else is random
        save, load_model, load_weights, save_model
            use model.save(path) and fr.load(path)
        onnx, export, to_keras, export_onnx
            use fr.to_onnx(model, path)
        ModelCheckpoint, BackupAndRestore
            use fr.Checkpoint
        ReduceLROnPlateau
            use fr.ReduceOnPlateau
        LearningRateScheduler
            use fr.LRScheduler
        BinaryCrossentropy, BCELoss, BCEWithLogitsLoss, binary_crossentropy
            use fr.losses.SigmoidCrossEntropy
        CategoricalCrossentropy, SparseCategoricalCrossentropy, CrossEntropyLoss, categorical_crossentropy
            use fr.losses.SoftmaxCrossEntropy
        MeanSquaredError, MSELoss
            use fr.losses.MSE
        MeanAbsoluteError, L1Loss
            use fr.losses.MAE
        Adagrad, Adadelta, Ftrl, Adagrad
            the nearest is fr.RMSprop
        Adamax, RAdam, Adafactor
            the nearest is fr.Adam
        Layer
            {_FUNCTION}
        Callback
            the base class is fr.Callback
        Loss
            {_CUSTOM}
        Optimizer
            fr.optimizers has those that there are
"""
ADVICE["fastreg"] = _advice(_OUTSIDE) | _advice(_AUGMENTATIONS)
# The estimators have scikit-learn's arguments, which belong to the constructor.
_MLP = """
        epochs, max_epochs, n_epochs, num_epochs, nb_epoch
            use max_iter=
        lr, eta, eta0
            use learning_rate_init=
        optimizer
            use solver=
        layers, hidden, hidden_layers, hidden_units, hidden_sizes, units
            use hidden_layer_sizes=
        patience
            use n_iter_no_change=
        seed
            use random_state=
        l2, penalty, regularization, reg, reg_lambda, lambda_, C
            use alpha=
        reg_alpha
            use l1=
        rate, p, drop_prob, dropout_rate
            use dropout=
        metrics, metric
            leave it out: metrics of scikit-learn take what predict gives
        validation_split, validation_size
            use early_stopping=True and validation_fraction=
        validation_data, eval_set, sample_weight
            it is an argument of fit: fit(X, y, sample_weight=..., X_val=..., y_val=...)
"""
_LOGISTIC = """
        alpha, l2, regularization, reg, reg_lambda, lambda_
            use C=, the inverse of the strength of the penalty
        l1, reg_alpha
            use penalty='l1', or l1_ratio=, and C=
        layers, hidden, hidden_layers, hidden_units, hidden_sizes, hidden_layer_sizes, units, activation
            it has none: MLPClassifier has
        multi_class
            leave it out: it is one softmax over all classes
"""
_ESTIMATOR_FIT = """
        validation_data, eval_set, validation_set
            use X_val= and y_val=
        epochs, max_epochs, n_epochs, num_epochs, max_iter
            it is an argument of the constructor: max_iter=
        validation_split, validation_fraction, early_stopping
            the constructor has early_stopping=True and validation_fraction=
        patience, early_stopping_rounds, n_iter_no_change
            it is an argument of the constructor: n_iter_no_change=
        batch_size, callbacks, class_weight, shuffle, threads, verbose
            it is an argument of the constructor
        resume
            the constructor has warm_start=True
"""
_OF_MODEL = """
        summary, save, parameters, get_weights, config
            it is of the model: estimator.model_
        weights
            use coefs_, and coef_ of LogisticRegression
        evaluate
            use score
"""
for _name in ("MLPClassifier", "MLPRegressor", "LogisticRegression"):
    ADVICE[_name] = _advice(_OF_MODEL)
    ADVICE[f"{_name}()"] = _advice(_MLP) | _advice(_LOGISTIC if _name == "LogisticRegression" else "")
    for _method in ("fit", "partial_fit"):
        ADVICE[f"{_name}.{_method}()"] = _advice(_ESTIMATOR_FIT)
    ADVICE[f"{_name}.fit()"] |= _advice("classes\n    leave it out: fit finds the classes; partial_fit has to be told")
MODULES = {  # the table for names that a public module does not have
    "fastreg.losses": "loss",
    "fastreg.optimizers": "optimizer",
    "fastreg.layers": "layers",
    "fastreg.callbacks": "callbacks",
    "fastreg.data.augment": "augment",
}
# Keywords that ask for what is always so: the values that are taken, and why no others are.
GRANTED: dict[str, tuple[tuple, str]] = {
    **dict.fromkeys(
        [f"{who}(restorebestweights)" for who in ("EarlyStopping", "GL", "PQ", "UP")],
        ((True,), "the best weights are always restored"),
    ),
    **dict.fromkeys(
        [f"{who}(verbose)" for who in ("predict", "evaluate", "predict_labels")],
        ((0, False, "auto"), "it prints nothing"),
    ),
    **dict.fromkeys(
        [f"{who}(dataformat)" for who in ("Conv2D", "MaxPool2D", "AvgPool2D", "GlobalAvgPool2D", "Flatten")],
        (("channels_last", None), "images are (height, width, channels)"),
    ),
    "Conv2D(dilationrate)": ((1, (1, 1)), "there are no gaps in a window"),
    "Conv2D(groups)": ((1,), "each filter reads all channels"),
}
ARGUMENT_OF = {"weight_init": "initializer", "bias_init": "initializer", "monitor": "monitor"}


def kind_of(argument: str) -> str:
    """The key of the tables for an argument, as errors name it: "layers[3]", "EarlyStopping monitor"."""
    name = argument.partition("[")[0].rpartition(" ")[2]
    return ARGUMENT_OF.get(name, name)


def own(argument: str, name: str, options: Iterable[str]) -> str | None:
    """The one of `options` that a name stands for, if it has exactly that meaning."""
    options = tuple(options)
    by_plain = {plain(option): option for option in options}
    key, kind = plain(name[:LONGEST].strip()), kind_of(argument)
    if key in by_plain:
        return by_plain[key]
    meant = ALIASES.get(kind, {}).get(key)
    return meant if meant in options else None


def has_advice(argument: str, name: str) -> bool:
    """Whether the tables say what to do instead."""
    return plain(name[:LONGEST].strip()) in ADVICE.get(kind_of(argument), {})


def advice(argument: str, name: str, options: Iterable[str] = ()) -> str:
    """The end of an error about an unknown name: what to use by the tables, else the nearest by its letters, among
    fastreg's names and those that stand for them, else nothing."""
    options, key, kind = tuple(options), plain(name[:LONGEST].strip()), kind_of(argument)
    told = ADVICE.get(kind, {}).get(key)
    if told:
        return f"; {told}"
    meant = own(argument, name, options)
    if meant is None:
        from difflib import get_close_matches  # needed only for errors

        # Of names that are equal but for case and underscores, such as mse and MSE, the one written like this one.
        alike = sorted(options, key=lambda option: option[:1].isupper() == name[:1].isupper())
        theirs = {other: own for other, own in ALIASES.get(kind, {}).items() if own in options}
        by_plain = theirs | {plain(option): option for option in alike}
        close = sorted((name for name in by_plain if len(key) > 2 and name.startswith(key)), key=len)
        close = close or get_close_matches(key, by_plain, n=1, cutoff=0.6)
        meant = by_plain[close[0]] if close else None
    return f"; the nearest is {meant!r}" if meant is not None else ""


def argument(who: str, name: str, known: Iterable[str]) -> str | None:
    """The argument of a class or function `who` that a keyword stands for, if it has exactly that meaning."""
    known = tuple(known)
    return own(f"{who}()", name, known) or (None if has_advice(f"{who}()", name) else own("keyword", name, known))


def about(who: str, name: str, known: Iterable[str]) -> tuple[bool, str]:
    """The end of an error about a keyword that `who` does not have, and whether the tables say what to do instead."""
    kinds = (f"{who}()", f"{who.rpartition('.')[2]}()", "keyword")
    kind = next((kind for kind in kinds if has_advice(kind, name)), None)
    return kind is not None, advice(kind or "keyword", name, known)


def granted(who: str, name: str, value: Any) -> str | None:
    """What there is to say about a keyword that asks for what is always so: "" if `value` does, else what it is that
    is so. None for any other keyword."""
    found = GRANTED.get(f"{who}({plain(name[:LONGEST])})")
    if found is None:
        return None
    values, why = found
    return "" if any(type(value) is type(one) and value == one for one in values) else f"{values[0]!r}: {why}"


def _imports() -> bool:
    """Whether `from module import name` asks, which hides what an AttributeError says. It is the instruction that runs
    in the first frame outside of functions that look up attributes."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_name in ("refuse", "__getattr__"):
        frame = frame.f_back
    return frame.f_code.co_code[frame.f_lasti] == opcode.opmap["IMPORT_FROM"]


def missing(module: str, known: Iterable[str] | None = None) -> Callable[[str], Any]:
    """The `__getattr__` of a public module, for names that it does not have. By default `known` is what it defines."""

    def refuse(name: str) -> Any:
        nonlocal known
        kind = MODULES.get(module, "fastreg")
        told = ""
        if not name.startswith("_"):
            if known is None:
                own = vars(sys.modules[module]).items()
                known = [key for key, value in own if getattr(value, "__module__", None) == module and key[0] != "_"]
            told = advice("fastreg" if has_advice("fastreg", name) else kind, name, known)
        if told and _imports():
            raise ImportError(f"cannot import name {name!r} from {module!r}{told}", name=module)
        raise AttributeError(f"module {module!r} has no attribute {name!r}{told}")

    return refuse
