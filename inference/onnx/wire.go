package onnx

import (
	"errors"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// key is the tag of a field as it stands on the wire: the field's number and its wire type in one.
// A field that comes with another wire type than its own is thereby an unknown field and passed over, which is what
// protobuf asks for.
type key uint64

// Wire types, added to the field's number shifted by three.
const (
	varint  = key(protowire.VarintType)
	fixed64 = key(protowire.Fixed64Type)
	bytes   = key(protowire.BytesType)
	fixed32 = key(protowire.Fixed32Type)
)

// Fields of the messages in onnx.proto (ONNX IR specification).
const (
	modelProducerName    = 2<<3 | bytes
	modelProducerVersion = 3<<3 | bytes
	modelGraph           = 7<<3 | bytes
	modelOpsetImport     = 8<<3 | bytes
	modelFunctions       = 25<<3 | bytes

	opsetDomain  = 1<<3 | bytes
	opsetVersion = 2<<3 | varint

	functionName   = 1<<3 | bytes
	functionDomain = 10<<3 | bytes

	graphNode              = 1<<3 | bytes
	graphName              = 2<<3 | bytes
	graphInitializer       = 5<<3 | bytes
	graphInput             = 11<<3 | bytes
	graphOutput            = 12<<3 | bytes
	graphSparseInitializer = 15<<3 | bytes

	nodeInput     = 1<<3 | bytes
	nodeOutput    = 2<<3 | bytes
	nodeName      = 3<<3 | bytes
	nodeOpType    = 4<<3 | bytes
	nodeAttribute = 5<<3 | bytes
	nodeDomain    = 7<<3 | bytes

	attrName          = 1<<3 | bytes
	attrFloat         = 2<<3 | fixed32
	attrInt           = 3<<3 | varint
	attrString        = 4<<3 | bytes
	attrTensor        = 5<<3 | bytes
	attrGraph         = 6<<3 | bytes
	attrFloats        = 7<<3 | fixed32
	attrFloatsPacked  = 7<<3 | bytes
	attrInts          = 8<<3 | varint
	attrIntsPacked    = 8<<3 | bytes
	attrStrings       = 9<<3 | bytes
	attrTensors       = 10<<3 | bytes
	attrGraphs        = 11<<3 | bytes
	attrTypeProto     = 14<<3 | bytes
	attrTypeProtos    = 15<<3 | bytes
	attrType          = 20<<3 | varint
	attrRefName       = 21<<3 | bytes
	attrSparseTensor  = 22<<3 | bytes
	attrSparseTensors = 23<<3 | bytes

	valueName = 1<<3 | bytes
	valueType = 2<<3 | bytes

	typeTensor       = 1<<3 | bytes
	typeSequence     = 4<<3 | bytes
	typeMap          = 5<<3 | bytes
	typeSparseTensor = 8<<3 | bytes
	typeOptional     = 9<<3 | bytes

	tensorTypeElem  = 1<<3 | varint
	tensorTypeShape = 2<<3 | bytes

	shapeDim = 1<<3 | bytes
	dimValue = 1<<3 | varint
	dimParam = 2<<3 | bytes

	tensorDims         = 1<<3 | varint
	tensorDimsPacked   = 1<<3 | bytes
	tensorDataType     = 2<<3 | varint
	tensorSegment      = 3<<3 | bytes
	tensorFloat        = 4<<3 | fixed32
	tensorFloatPacked  = 4<<3 | bytes
	tensorInt32        = 5<<3 | varint
	tensorInt32Packed  = 5<<3 | bytes
	tensorString       = 6<<3 | bytes
	tensorInt64        = 7<<3 | varint
	tensorInt64Packed  = 7<<3 | bytes
	tensorName         = 8<<3 | bytes
	tensorRaw          = 9<<3 | bytes
	tensorDouble       = 10<<3 | fixed64
	tensorDoublePacked = 10<<3 | bytes
	tensorUint64       = 11<<3 | varint
	tensorUint64Packed = 11<<3 | bytes
	tensorExternal     = 13<<3 | bytes
	tensorLocation     = 14<<3 | varint
)

// field is one field of a message. bits holds a varint or fixed value, data the bytes of a string, message or
// packed list; data aliases the message.
type field struct {
	key  key
	bits uint64
	data []byte
}

var errTruncated = errors.New("broken protobuf")

// walk calls visit for each field of a message, in the order of the wire, until one fails.
func walk(msg []byte, visit func(field) error) error {
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return errTruncated
		}
		msg = msg[n:]
		f := field{key: key(num)<<3 | key(typ)}
		switch typ {
		case protowire.VarintType:
			f.bits, n = protowire.ConsumeVarint(msg)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(msg)
			f.bits = uint64(v)
		case protowire.Fixed64Type:
			f.bits, n = protowire.ConsumeFixed64(msg)
		case protowire.BytesType:
			f.data, n = protowire.ConsumeBytes(msg)
		default: // groups, which ONNX does not use
			n = protowire.ConsumeFieldValue(num, typ, msg)
		}
		if n < 0 {
			return errTruncated
		}
		msg = msg[n:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// text sets a string. Names must be UTF-8, or onnx-go refuses the message later, without saying which name it was.
func text(dst *string, f field) error {
	if !utf8.Valid(f.data) {
		return errors.New("a name is not UTF-8")
	}
	*dst = string(f.data)
	return nil
}

// varints appends a packed list of varints. A varint takes at least one byte, so that the list is at most eight
// times as large as the bytes it comes from.
func varints(dst []int64, packed []byte) ([]int64, error) {
	for len(packed) > 0 {
		v, n := protowire.ConsumeVarint(packed)
		if n < 0 {
			return nil, errTruncated
		}
		packed = packed[n:]
		dst = append(dst, int64(v))
	}
	return dst, nil
}
