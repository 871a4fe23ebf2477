// What the examples need: clients of the two services, and what to do about an error.
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { credentials, loadPackageDefinition, Metadata, status } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const beside = (path) => fileURLToPath(new URL(path, import.meta.url));
const files = ['inkpot/v1/write.proto', 'inkpot/v1/file.proto', beside('error_info.proto')];
// Numbers are exact up to 2^53, which is 8 PiB; take `longs: String` or BigInt for more.
const options = { longs: Number, enums: String, defaults: true, oneofs: true };
const types = loadSync(files, { includeDirs: [beside('../../../proto')], ...options });
const { WriteService, FileService } = loadPackageDefinition(types).inkpot.v1;

// grpc-js takes its retries from the service config, but waiting for a server that is not there yet from the call.
export const waitForReady = new Metadata({ waitForReady: true });

export function connect(endpoint) {
  const serviceConfig = readFileSync(beside('../../service_config.json'), 'utf8');
  const settings = { 'grpc.service_config': serviceConfig };
  const make = (Service) => new Service(endpoint, credentials.createInsecure(), settings);
  return { writes: make(WriteService), files: make(FileService) };
}

// Waits a moment after an error that passes by itself. Ends the program after any other, and says why.
// `error` is the error of a call, or the google.rpc.Status of a nack.
export async function pauseOrExit(error) {
  if (error.code === status.UNAVAILABLE || error.code === status.UNKNOWN) return setTimeout(250);
  if (!(error.code in status)) throw error; // not from gRPC: a fault of this program
  const [packed] = error.metadata?.get('grpc-status-details-bin') ?? [];
  const refusal = packed ? types['google.rpc.Status'].deserialize(packed) : { details: [], ...error };
  const info = refusal.details.find((detail) => detail.type_url.endsWith('/google.rpc.ErrorInfo'));
  const reason = info ? types['google.rpc.ErrorInfo'].deserialize(info.value).reason : '';
  console.error(`${status[error.code]} ${reason}: ${refusal.message}`);
  process.exit(1);
}
