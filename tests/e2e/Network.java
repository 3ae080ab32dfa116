package armature.example;

/** Stands for Network.kt, whose native half it calls by the same names. */
final class Network {
    private native long create(int threads);

    private native void run(long handle, java.nio.ByteBuffer input, java.nio.ByteBuffer output);

    private native void destroy(long handle);

    private native long inputBytes();

    private native long outputBytes();

    static java.nio.ByteBuffer result(int threads) {
        Network network = new Network();
        java.nio.ByteBuffer input = java.nio.ByteBuffer.allocateDirect((int) network.inputBytes());
        java.nio.ByteBuffer output = java.nio.ByteBuffer.allocateDirect((int) network.outputBytes());
        java.nio.FloatBuffer numbers = input.order(java.nio.ByteOrder.nativeOrder()).asFloatBuffer();
        for (int i = 0; i < numbers.capacity(); i++) {
            numbers.put(i, i % 97 / 50f - 1);
        }
        long handle = network.create(threads);
        network.run(handle, input, output);
        try {
            network.run(handle, input, java.nio.ByteBuffer.allocate(4));
            throw new AssertionError("a buffer that is not direct was taken");
        } catch (IllegalStateException expected) {
            System.out.println(expected.getMessage());
        }
        network.destroy(handle);
        return output;
    }

    public static void main(String[] arguments) {
        System.load(arguments[0]);
        if (!result(1).equals(result(3))) {
            throw new AssertionError("three threads differ from one");
        }
    }
}
