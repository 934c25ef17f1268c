//go:build !noasm

package codec

import "golang.org/x/sys/cpu"

// hasNative tells whether the kernels of kernels_amd64.s run here. Each function below does nothing and returns false,
// or 0, where they do not, or where they cannot take the call; its caller then goes the plain way, which gives the same.
var hasNative = cpu.X86.HasAVX2

func acrossNative(dst, src *[4][]byte, k *packedWeights) bool {
	if k == nil {
		return false
	}
	var to, from [4]*byte
	for i := range dst {
		_, _ = dst[i][len(k.first)*k.channels-1], src[i][k.reach-1]
		to[i], from[i] = &dst[i][0], &src[i][0]
	}
	if k.channels == 1 {
		acrossGray(&to, &from, &k.first[0], &k.coef[0], len(k.first), k.steps)
	} else {
		acrossRGBA(&to, &from, &k.first[0], &k.coef[0], len(k.first), k.steps)
	}
	return true
}

func downNative(dst, src []byte, stride int, coef []uint32) bool {
	const block = 32
	if len(coef) == 0 || len(dst) < block {
		return false
	}
	pairs := len(coef) / 2
	_ = src[(2*pairs-1)*stride+len(dst)-1]
	downRows(&dst[0], &src[0], stride, &coef[0], pairs, len(dst)/block)
	if len(dst)%block != 0 {
		at := len(dst) - block
		downRows(&dst[at], &src[at], stride, &coef[0], pairs, 1)
	}
	return true
}

func yccNative(dst, y, cb, cr []byte) bool {
	const block = 16
	n := len(y)
	if !hasNative || n < block {
		return false
	}
	_, _, _ = dst[4*n-1], cb[n-1], cr[n-1]
	yccToRGBA(&dst[0], &y[0], &cb[0], &cr[0], n/block)
	if n%block != 0 {
		at := n - block
		yccToRGBA(&dst[4*at], &y[at], &cb[at], &cr[at], 1)
	}
	return true
}

func chromaNative(out, near, far []byte, sums []uint16, even, odd uint16) bool {
	const block = 16
	n := len(near)
	if !hasNative || n < block {
		return false
	}
	_, _, _ = out[2*n-1], far[n-1], sums[n+1]
	chromaSums(&sums[1], &near[0], &far[0], n/block)
	at := n - block
	if n%block != 0 {
		chromaSums(&sums[1+at], &near[at], &far[at], 1)
	}
	sums[0], sums[n+1] = sums[1], sums[n]
	chromaBlend(&out[0], &sums[1], n/block, even, odd)
	if n%block != 0 {
		chromaBlend(&out[2*at], &sums[1+at], 1, even, odd)
	}
	return true
}

func idctNative(dst []byte, stride int, coef []int16) bool {
	if !hasNative {
		return false
	}
	_, _ = coef[127], dst[7*stride+15]
	idctPair(&coef[0], &dst[0], stride)
	return true
}

func subtractNative(dst, a, b []byte) (done int) {
	const block = 32
	n := len(dst) / block
	if !hasNative || n == 0 {
		return 0
	}
	_, _ = a[n*block-1], b[n*block-1]
	subtractBlocks(&dst[0], &a[0], &b[0], n)
	return n * block
}

func adlerNative(p []byte, a, b *uint32) (done int) {
	const block = 32
	n := len(p) / block
	if !hasNative || n == 0 {
		return 0
	}
	adlerBlocks(&p[0], n, a, b)
	return n * block
}
