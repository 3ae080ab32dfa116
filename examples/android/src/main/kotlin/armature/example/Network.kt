package armature.example

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** MobileNetV2 by its C library. One thread at a time may call a network. */
class Network(threads: Int = 1) : AutoCloseable {
    private var handle = create(threads)

    /** What the network takes: direct, so that nothing is copied. */
    val input: ByteBuffer = ByteBuffer.allocateDirect(inputBytes().toInt()).order(ByteOrder.nativeOrder())

    /** What it gives. */
    val output: ByteBuffer = ByteBuffer.allocateDirect(outputBytes().toInt()).order(ByteOrder.nativeOrder())

    /** Fills [output] from [input]. */
    fun run() {
        check(handle != 0L) { "the network was closed" }
        run(handle, input, output)
    }

    override fun close() {
        if (handle != 0L) destroy(handle)
        handle = 0L
    }

    private external fun create(threads: Int): Long
    private external fun run(handle: Long, input: ByteBuffer, output: ByteBuffer)
    private external fun destroy(handle: Long)
    private external fun inputBytes(): Long
    private external fun outputBytes(): Long

    private companion object {
        init {
            System.loadLibrary("network")
        }
    }
}
