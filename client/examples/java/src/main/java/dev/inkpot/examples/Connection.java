package dev.inkpot.examples;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.Code;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import io.grpc.Channel;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.protobuf.StatusProto;

/** What the examples need: a channel, and what to do about an error. */
final class Connection {
  private Connection() {}

  static Channel open(String endpoint) {
    return Grpc.newChannelBuilder(endpoint, InsecureChannelCredentials.create()).build();
  }

  /** Waits a moment after an error that passes by itself. Ends the program after any other, and says why. */
  static void pauseOrExit(Throwable error) throws InterruptedException, InvalidProtocolBufferException {
    Status status = StatusProto.fromThrowable(error);
    if (status.getCode() == Code.UNAVAILABLE_VALUE || status.getCode() == Code.UNKNOWN_VALUE) {
      Thread.sleep(250);
      return;
    }
    String reason = "";
    for (Any detail : status.getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        reason = detail.unpack(ErrorInfo.class).getReason();
      }
    }
    System.err.printf("%s %s: %s%n", Code.forNumber(status.getCode()), reason, status.getMessage());
    System.exit(1);
  }
}
