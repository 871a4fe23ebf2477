package dev.inkpot.examples;

import dev.inkpot.v1.FileServiceGrpc;
import dev.inkpot.v1.ReadRequest;
import dev.inkpot.v1.ReadResponse;
import io.grpc.StatusRuntimeException;
import java.util.Iterator;

/**
 * Prints a file of Inkpot, and what is appended to it from then on.
 * Arguments: ENDPOINT PATH, for example 127.0.0.1:7411 logs/app.log
 */
public final class Tail {
  private Tail() {}

  public static void main(String[] args) throws Exception {
    FileServiceGrpc.FileServiceBlockingStub service =
        FileServiceGrpc.newBlockingStub(Connection.open(args[0])).withWaitForReady();
    ReadRequest.Builder request = ReadRequest.newBuilder().setPath(args[1]).setFollow(true);
    while (true) {
      try {
        Iterator<ReadResponse> pieces = service.read(request.build());
        while (pieces.hasNext()) {
          ReadResponse piece = pieces.next();
          piece.getData().writeTo(System.out);
          System.out.flush();
          request.setOffset(piece.getOffset() + piece.getData().size()); // after an error it goes on from here
        }
        Thread.sleep(250); // the server has ended the read
      } catch (StatusRuntimeException error) {
        Connection.pauseOrExit(error);
      }
    }
  }
}
