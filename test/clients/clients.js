// Drives the npm package remove.bg.
const assert = require("assert");
const fs = require("fs");
const { removeBackgroundFromImageFile, removeBackgroundFromImageBase64 } = require("remove.bg");

const apiKey = process.env.KEY, path = process.env.PHOTO;

async function main() {
  const file = await removeBackgroundFromImageFile({ path, apiKey, type: "person", scale: "50%", outputFile: "out.png" });
  assert.strictEqual(file.detectedType, "person");
  assert.strictEqual(file.creditsCharged, "0");
  assert.ok(Number(file.resultWidth) > 0 && Number(file.rateLimit) > 0);
  assert.strictEqual(fs.readFileSync("out.png").subarray(1, 4).toString(), "PNG");

  const base64img = fs.readFileSync(path).toString("base64");
  const cropped = await removeBackgroundFromImageBase64({ base64img, apiKey, size: "auto", crop: true, crop_margin: "10%" });
  assert.ok(Buffer.from(cropped.base64img, "base64").length > 1000);

  for (const [code, request] of [
    ["invalid_file_type", { base64img: "AAAA", apiKey }],
    ["auth_failed", { base64img, apiKey: "wrong" }],
    ["invalid_roi", { base64img, apiKey, roi: "nowhere" }],
  ]) {
    await assert.rejects(removeBackgroundFromImageBase64(request), errors => errors[0].code === code && errors[0].title !== "");
  }
  console.log("remove.bg: 5 calls");
}

main();
