// Package conformance runs the ONNX project's own node tests against the engine.
//
// The tests come from the wheel of the Python package onnx 1.17.0 (onnx/backend/test/data/node: 1288 directories,
// each a model.onnx and data sets of serialised TensorProtos); fetch.sh downloads them into .tools at the top of the
// repository. The reader here is written apart from the engine's decoder, so that a mistake in one is not
// repeated in the other.
package conformance
