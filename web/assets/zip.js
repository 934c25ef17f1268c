// Writes a ZIP of files that are compressed already: each is stored as it is (PKWARE's APPNOTE, version 2.0).

const table = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = table[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Packs [{name, blob}] into one Blob. Names are made different where they are the same. */
export async function zip(files) {
  const parts = [], directory = [], taken = new Set();
  let offset = 0;
  for (const { name, blob } of files) {
    let unique = name;
    for (let n = 2; taken.has(unique); n++) unique = name.replace(/(\.[^.]*)?$/, `-${n}$1`);
    taken.add(unique);
    const encoded = new TextEncoder().encode(unique);
    const bytes = new Uint8Array(await blob.arrayBuffer());
    // From the version needed to the length of the extra field: the same in both headers. 1 January 1980, midnight.
    const common = new DataView(new ArrayBuffer(26));
    common.setUint16(0, 20, true);
    common.setUint16(2, 0x0800, true); // the name is UTF-8
    common.setUint16(8, 0x21, true);
    common.setUint32(10, crc32(bytes), true);
    common.setUint32(14, bytes.length, true);
    common.setUint32(18, bytes.length, true);
    common.setUint16(22, encoded.length, true);
    parts.push(new Uint8Array([0x50, 0x4b, 3, 4]), common, encoded, bytes);
    const rest = new DataView(new ArrayBuffer(14));
    rest.setUint32(10, offset, true);
    directory.push(new Uint8Array([0x50, 0x4b, 1, 2, 20, 0]), common, rest, encoded);
    offset += 30 + encoded.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.byteLength, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, taken.size, true);
  end.setUint16(10, taken.size, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
